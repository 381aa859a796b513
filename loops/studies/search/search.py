"""Search inner settings of one cell by validation Dice on a frozen proxy split of the pool."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loops.config import RunConfig
from loops.progress import Progress
from loops.studies.search.proxy import Proxy, freeze
from loops.studies.search.records import BEST, Record, all_records, write_best
from loops.studies.search.settings import Range, SearchSettings
from loops.studies.search.tuned import with_tuned
from salearn.config import read_yaml
from salearn.errors import ConfigError
from salearn.settings import parse

if TYPE_CHECKING:
    from loops.workbench import Workbench

FREE = ("strategy", "draw_seed", "train_seed", "budget", "query_size", "start")


@dataclass(frozen=True, kw_only=True)
class Search:
    """A checked search.

    Attributes:
        values: plain settings of the run that is tuned.
    """

    settings: SearchSettings
    values: dict[str, Any]
    where: str

    @property
    def out(self) -> Path:
        """Folder of the search."""
        return Path(self.settings.out)

    def config(self, overrides: Mapping[str, Any]) -> RunConfig:
        """The run with some settings changed."""
        from loops.studies.search.trial import config_of, searched

        return searched(config_of(self.values, overrides, self.where), self.out)


def load_search(path: Path, changes: Sequence[str] = ()) -> Search:
    """The search in a config or study file; every end of every range is checked.

    Raises:
        ConfigError: no `search` section, an unknown key, or a setting that cannot take a value.
    """
    whole = with_tuned(read_yaml(path), changes)
    section, study = whole.pop("search", None), whole.pop("study", None) or {}
    if section is None:
        raise ConfigError(
            f"{path}: there is no `search` section; write search: {{space: {{"
            "student.learning_rate: {low: 0.001, high: 0.01, log: true}}}"
        )
    settings = parse(SearchSettings, section, f"{path}: search")
    _refuse_factors(study.get("factors") or {}, changes)
    if "out" in study:
        whole.setdefault("store", str(Path(study["out"]) / "store"))
    whole.setdefault("store", str(Path(settings.out) / "store"))
    search = Search(settings=settings, values=whole, where=str(path))
    if search.config({}).alone and settings.stage != "sam":
        raise ConfigError(f"{path}: search.stage: learner sam trains no student; use stage=sam")
    for key in settings.space:
        options = settings.options(key)
        for value in options.ends if isinstance(options, Range) else options:
            search.config({key: value})
    return search


def search(found: Search, progress: Progress | None = None) -> dict[str, Any]:
    """Run the trials that are not done and write best.yaml; the same call again goes on.

    The sampler is asked anew from its seed and told what is done, so nothing is trained twice.
    With the serial backend (or parallel=1) an interrupted search ends like one that was not; side
    by side, what is suggested also depends on which trial ends first.

    Returns:
        {"search", "trials", "ran", "counts", "best", "baseline", "overrides", "file", "masks"}.

    Raises:
        ConfigError: Optuna or Ray is not installed, or the pool is too small.
    """
    from loops.cell import set_threads

    progress = progress or Progress()
    space = distributions(found.settings)  # first: is Optuna there?
    stood = found.config({})
    set_threads(stood.threads)
    bench = _bench(stood, progress)
    proxy = freeze(bench, found.settings)
    before = _done(found.out)
    spent = proxy.record["spent"]
    progress.say(
        f"{found.settings.trials} trials on {len(proxy.train)} cases, scored on "
        f"{len(proxy.validation)}; {spent['cases']} masks of the pool are spent on this search"
    )
    baseline = one_trial(found, proxy, {}, lambda *_: None, progress)
    from loops.studies.search.engines import ENGINES

    ENGINES[found.settings.backend](found, proxy, space, progress)
    trials = all_records(found.out)
    document = write_best(found.out, trials, baseline["key"], proxy, found.settings)
    counts: dict[str, int] = {}
    for trial in trials:
        counts[trial["status"]] = counts.get(trial["status"], 0) + 1
    return {
        "search": str(found.out),
        "trials": len(trials),
        "ran": len(_done(found.out)) - len(before),
        "counts": counts,
        "best": document.get("dice"),
        "baseline": document.get("dice_as_it_stood"),
        "overrides": document.get("overrides"),
        "file": str(found.out / BEST) if document else None,
        "masks": spent,
    }


def one_trial(
    found: Search,
    proxy: Proxy,
    overrides: Mapping[str, Any],
    told: Callable[[int, float], None],
    progress: Progress,
) -> dict[str, Any]:
    """The record of a trial, from its file or run now; what goes wrong in it stands there."""
    from loops.studies.search.trial import run_trial, steps_of, trial_key

    config, settings = found.config(overrides), found.settings
    alone = settings.stage == "sam"
    last = config.finetune.iterations if alone else steps_of(config, settings)[-1]
    record = Record(found.out, trial_key(config, proxy.record["hash"], settings), overrides, last)
    if stored := record.found:
        for line in stored["curve"]:
            told(line["step"], line["dice"])
        return stored

    def both(step: int, dice: float) -> None:
        record.report(step, dice)  # first: a scheduler may end this process at the report
        told(step, dice)

    try:
        run_trial(config, proxy, settings, both, progress)
    except Exception as error:  # one bad trial does not stop the search
        return record.end("failed", f"{type(error).__name__}: {error}")
    return record.end("done")


def distributions(settings: SearchSettings) -> dict[str, Any]:
    """The space as Optuna knows it.

    Raises:
        ConfigError: Optuna is not installed.
    """
    try:
        import optuna
        from ray.tune.search.optuna import OptunaSearch  # noqa: F401
    except ImportError:
        raise ConfigError(
            "salearn search needs Ray Tune and Optuna: pip install 'salearn[tune]', or pip install "
            "optuna"
        ) from None
    kinds = optuna.distributions
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    found: dict[str, Any] = {}
    for key in settings.space:
        options = settings.options(key)
        if not isinstance(options, Range):
            found[key] = kinds.CategoricalDistribution(options)
            continue
        whole = isinstance(options.low, int) and isinstance(options.high, int)
        kind = kinds.IntDistribution if whole else kinds.FloatDistribution
        step = options.step or (1 if whole else None)
        found[key] = kind(options.low, options.high, log=options.log, step=step)
    return found


def _bench(config: RunConfig, progress: Progress) -> Workbench:
    from loops.workbench import Workbench

    return Workbench(config, progress)


def _done(out: Path) -> list[str]:
    return [trial["key"] for trial in all_records(out) if trial["status"] == "done"]


def _refuse_factors(factors: Mapping[str, Any], changes: Sequence[str]) -> None:
    """A search is of one cell: what is a factor and shapes the training must be named."""
    named = {change.partition("=")[0] for change in changes}
    for key in factors:
        if key.partition(".")[0] not in FREE and key not in named:
            raise ConfigError(
                f"search: {key} is a factor of this study, and a search is of one cell; name one "
                f"value of it, e.g. `salearn search STUDY {key}={factors[key][0]}`"
            )
