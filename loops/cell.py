"""One run from its settings to its folder: what `salearn run` does, and one cell of a study."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml

from loops.adaptation.settings import arm_label
from loops.adaptation.which import inner_of
from loops.annotation.people import People
from loops.config import RunConfig
from loops.guards import guards_of
from loops.learning.task import check_host
from loops.look import LOOK
from loops.measuring.overlays import folder_of
from loops.measuring.pictures import length_unit, refuse_pictures
from loops.outer import run
from loops.pointers import write_pointers
from loops.progress import Progress
from loops.sfr.presets import all_differences, differences, sentence
from loops.sinks.fan import Sinks
from loops.studies.replays import refuse_other_split
from loops.studies.search.tuned import refuse_seen
from loops.studies.search.tuned import sentence as sentence_of_search
from loops.workbench import Workbench
from salearn.budget import Schedule
from salearn.errors import ConfigError
from salearn.settings import dump
from salearn.store import read_json, read_lines, write_json, write_text

PACKAGES = (
    "torch", "transformers", "peft", "monai", "faiss-cpu", "scikit-learn", "ray", "numpy",
    "nibabel", "tensorboard",
)  # fmt: skip


def run_cell(config: RunConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Run all rounds that are not done; the same call again does nothing.

    Returns:
        {"out", "key", "rounds", "ran", "final": last round's metrics}.

    Raises:
        WaitingError: the next round needs masks of people (`salearn query`, `salearn annotate`).
    """
    progress = progress or Progress()
    set_threads(config.threads)
    out = Path(config.out)
    with claimed(out), Sinks(config.sinks, progress.say) as sinks:
        bench = Workbench(config, progress)
        refuse_pictures(config, bench.dataset)
        describe(bench)
        if config.preset is not None:
            progress.say(sentence(config.preset, differences(dump(config), config.preset)))
        if config.tuned is not None:
            progress.say(sentence_of_search(config.tuned))
        sinks.describe(read_json(out / "run.json"), out)
        refuse_starved_host(bench)
        done = len(bench.finished_rounds())
        rounds = run(
            strategy=config.build_strategy(bench.patients),
            inner=inner_of(bench),
            oracle=bench.oracle,
            pool=bench.whole_pool(),
            schedule=Schedule.of_totals(budgets(bench)),
            log=bench.log,
            seed=config.draw_seed,
            rounds=People(bench),
        )
        record: dict[str, Any] = {}
        for record in rounds:
            _show(bench, sinks, record)
            if record["round"] >= done:
                progress.say(_sentence(record))
    total = record["round"] + 1
    return {
        "out": str(out), "key": config.key, "rounds": total, "ran": total - done,
        "final": record["metrics"],
    }  # fmt: skip


def budgets(bench: Workbench) -> tuple[int, ...]:
    """Totals of the run; shares are of the units with a mask file, or of all if none has one."""
    units = bench.pool().unlabeled or bench.whole_pool().unlabeled
    return bench.config.totals(len(units))


def refuse_starved_host(bench: Workbench) -> None:
    """Refuse, before anything is trained, a host that some round leaves without what it needs.

    Raises:
        ConfigError: the last round leaves no case unlabeled, or the first labels too few.
    """
    config, totals = bench.config, budgets(bench)
    if config.alone:
        return
    # Slices and patches may come from one case or many: how many is known once they are chosen.
    first = totals[0] if config.unit == "volume" else config.student.batch
    left = len(bench.whole_pool().unlabeled) - totals[-1]
    check_host(config.build_host(), config.student, first, max(left, 0))


def _show(bench: Workbench, sinks: Sinks, record: dict[str, Any]) -> None:
    """The round in every sink, and links from the run folder to the models of the round.

    The link to the student comes last; where it is, the round has been shown.
    """
    folder = bench.out / "models" / f"round_{record['round']:03d}"
    if (folder / ("adapter" if bench.config.alone else "student")).is_symlink():
        return
    folder.mkdir(parents=True, exist_ok=True)
    sinks.round(record)
    sinks.pictures(folder_of(bench.out, record["round"]), record["num_labeled"])
    for name, kind in (("adapter", "adapters"), ("student", "students")):
        if (key := record["keys"][name]) is not None:
            model = bench.store.path(kind, key)
            sinks.curves(name, record["round"], read_lines(model / "train.jsonl"))
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(os.path.relpath(model, folder))


def set_threads(threads: int) -> None:
    """Torch and FAISS threads of this process."""
    import torch

    torch.set_num_threads(threads)
    import faiss

    faiss.omp_set_num_threads(threads)


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Hold the run folder; a second process on it is refused, a dead one blocks nobody."""
    out.mkdir(parents=True, exist_ok=True)
    with (out / ".lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{out}: another process is running in this folder") from None
        for leftover in out.glob(f"{LOOK}*"):  # of a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        yield


def describe(bench: Workbench) -> None:
    """Write config.yaml, run.json and split.json, or refuse a folder of another run."""
    config, out = bench.config, bench.out
    path = out / "run.json"
    if path.exists() and (key := read_json(path)["key"]) != config.key:
        raise ConfigError(
            f"{out}: holds a run with other settings (key {key}, now {config.key}); "
            f"see {out / 'config.yaml'}, or name another folder with out=..."
        )
    refuse_seen(config.tuned, bench.split.test)
    hashes = {case: bench.key(case) for case in bench.cases}
    split = bench.split.record(bench.dataset, hashes)
    refuse_other_split(config.strategy.get("hashes") or {}, split)
    _same_split(out / "split.json", split)
    write_json(path, _run_record(bench, split))
    write_text(out / "config.yaml", yaml.safe_dump(dump(config), sort_keys=False))
    write_pointers(bench)


def _same_split(path: Path, split: dict[str, Any]) -> None:
    if path.exists() and read_json(path) != split:
        raise ConfigError(
            f"{path}: the data or the split changed since this run began; restore the data set, "
            "or start anew with another out=..."
        )
    write_json(path, split)


def _run_record(bench: Workbench, split: dict[str, Any]) -> dict[str, Any]:
    config = bench.config
    return {
        "key": config.key,
        "factors": {
            "dataset": bench.dataset.name,
            "strategy": config.strategy_name,
            "learner": config.learner_name,
            "draw_seed": config.draw_seed,
            "train_seed": config.train_seed,
        },
        "budget": list(budgets(bench)),
        "unit": config.unit,
        "classes": list(bench.dataset.classes),
        "length_unit": length_unit(bench.dataset),
        "reference_kind": bench.reference_kind,
        "split": bench.split.counts() | {"hash": split["hash"]},
        "versions": {"python": platform.python_version()} | {p: _version(p) for p in PACKAGES},
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "cost_model": dump(config.cost),
        "preset": config.preset,
        **({"tuned": config.tuned} if config.tuned else {}),
        "preset_differences": all_differences(dump(config)) if config.sfr else {},
        "guards": guards_of(config, bench.dataset, bench.split),
        **({"arm": arm_label(config.arm)} if config.alone else {}),
        **(bench.trunk.briefly() if bench.trunk else {}),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _sentence(record: dict[str, Any]) -> str:
    means = {
        row["stage"]: row["dice"]
        for row in record["metrics"]
        if row["split"] == "test" and row["class"] == "mean"
    }
    scores = ", ".join(f"{stage} {dice:.3f}" for stage, dice in means.items())
    told = f"test Dice {scores}" if means else "not measured: there are no test cases"
    return f"round {record['round']}: {record['num_labeled']} labeled, {told}"
