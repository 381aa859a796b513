"""Who suggests settings (Ray Tune's OptunaSearch) and who runs the trials."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from loops.progress import Progress
from loops.studies.backends.ray_tune import ray_of
from loops.studies.search.proxy import Proxy
from loops.studies.search.records import all_records
from loops.studies.search.search import Search, one_trial
from loops.studies.search.trial import steps_of
from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.settings import dump, parse
from salearn.store import write_json

Engine = Callable[[Search, Proxy, Mapping[str, Any], Progress], None]
METRIC, STEP = "dice", "step"
RETRIES = 2  # of a trial whose worker died; it goes on from its checkpoint


def serial(found: Search, proxy: Proxy, space: Mapping[str, Any], progress: Progress) -> None:
    """One trial after the other in this process; suggestions depend on the seed alone."""
    searcher = _searcher(found, space)
    for number in range(found.settings.trials):
        overrides = searcher.suggest(str(number))
        record = one_trial(found, proxy, overrides, lambda *_: None, progress)
        told = {METRIC: record["dice"], "training_iteration": 1}
        failed = record["status"] != "done"
        searcher.on_trial_complete(str(number), None if failed else told, error=failed)
        progress.say(f"trial {number + 1}: Dice {record['dice']}, {overrides}")


def ray(found: Search, proxy: Proxy, space: Mapping[str, Any], progress: Progress) -> None:
    """Trials side by side; with asha the worse ones of a rung are stopped."""
    settings = found.settings
    order = {
        "settings": dump(settings), "values": found.values, "where": found.where,
        "proxy": proxy.record, "cwd": str(Path.cwd()),
    }  # fmt: skip
    with ray_of(settings) as tune:
        held = {"cpu": settings.cpu, "gpu": settings.gpu}
        tuner = tune.Tuner(
            tune.with_resources(partial(run_search_trial, order), held),
            tune_config=tune.TuneConfig(
                search_alg=_searcher(found, space),
                scheduler=_scheduler(found),
                num_samples=settings.trials,
                max_concurrent_trials=settings.parallel or os.cpu_count(),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                name=f"tune_{os.getpid()}",
                storage_path=str((found.out / "ray").resolve()),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=RETRIES),
            ),
        )
        tuner.fit()
    for trial in all_records(found.out):  # what did not end was ended
        if trial["status"] == "running":
            path = found.out / "trials" / f"{trial['key']}.json"
            write_json(path, trial | {"status": "stopped"})


ENGINES: dict[str, Engine] = {"ray": ray, "serial": serial}


def run_search_trial(order: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    """One Ray Tune trial of a search."""
    from ray import tune

    from loops.cell import set_threads
    from loops.studies.search.settings import SearchSettings

    if Path(order["cwd"]).is_dir():
        os.chdir(order["cwd"])
    settings = parse(SearchSettings, order["settings"], "search")
    found = Search(settings=settings, values=order["values"], where=order["where"])
    record = order["proxy"]
    proxy = Proxy(
        train=tuple(CaseId(case) for case in record["train"]),
        validation=tuple(CaseId(case) for case in record["validation"]),
        record=record,
    )
    set_threads(found.config({}).threads)

    def told(step: int, dice: float) -> None:
        tune.report({STEP: step, METRIC: dice})

    ended = one_trial(found, proxy, config, told, Progress(enabled=False))
    if ended["status"] == "failed":  # as bad as can be, so that the sampler turns away
        tune.report({STEP: ended["curve"][-1]["step"] + 1 if ended["curve"] else 1, METRIC: 0.0})


def _searcher(found: Search, space: Mapping[str, Any]) -> Any:
    from ray.tune.search.optuna import OptunaSearch

    return OptunaSearch(dict(space), metric=METRIC, mode="max", seed=found.settings.seed)


def _scheduler(found: Search) -> Any:
    """ASHA over the reports of the students of one cell, or none."""
    from ray.tune.schedulers import ASHAScheduler, FIFOScheduler

    if found.settings.scheduler == "fifo":
        return FIFOScheduler()
    steps = steps_of(found.config({}), found.settings)
    if len(steps) < 2:
        raise ConfigError(
            "search.scheduler=asha needs search.reports >= 2: with one report nothing can be "
            "stopped before its end"
        )
    return ASHAScheduler(
        time_attr=STEP, metric=METRIC, mode="max", max_t=steps[-1], grace_period=steps[0],
        reduction_factor=found.settings.reduction,
    )  # fmt: skip
