"""The command line: start-up, lists, and the report of a study of 1,000 cells made by script."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_demo import row, used
from benchmarks.common import Row, emit

STRATEGIES = ("random", "dkd", "asd", "hybrid", "coreset")
LEARNERS = {"supervised": ("student", "teacher"), "mean_teacher": ("student", "teacher")}
SEEDS, BUDGET, CASES = 100, (1, 4, 16), 6
CLASSES = ("anterior", "posterior")


def write_study(root: Path) -> int:
    """Run folders as the outer loop writes them, with made-up scores; how many."""
    cells = list(itertools.product(STRATEGIES, LEARNERS, range(SEEDS)))
    for number, (strategy, learner, seed) in enumerate(cells):
        folder = root / "cells" / f"{number:04d}"
        folder.mkdir(parents=True)
        _write_run(folder, strategy, learner, seed)
    return len(cells)


def _write_run(folder: Path, strategy: str, learner: str, seed: int) -> None:
    from salearn.metrics.evaluate import summarise

    rng = np.random.default_rng([seed, len(strategy), len(learner)])
    rounds, cases = [], []
    for step, total in enumerate(BUDGET):
        level = 0.6 + 0.1 * step + 0.02 * STRATEGIES.index(strategy) + rng.normal(0, 0.02)
        places = [{"round": step, "split": "test", "stage": s} for s in LEARNERS[learner]]
        groups = [
            (place, [_case(n, c, level, rng) for n in range(CASES) for c in CLASSES])
            for place in places
        ]
        cases += [place | line for place, lines in groups for line in lines]
        means = [place | line for place, lines in groups for line in summarise(lines)]
        rounds.append(_round(step, total, seed, means))
    record = _record(strategy, learner, seed)
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(f"draw_seed: {seed}\nout: {folder}\n")
    for name, lines in (("rounds", rounds), ("cases", cases), ("timings", _timings())):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text)


def _case(number: int, name: str, level: float, rng: np.random.Generator) -> dict[str, Any]:
    from salearn.metrics.evaluate import METRICS

    dice = float(min(level + rng.normal(0, 0.03), 1.0))
    line = dict.fromkeys(METRICS, dice) | {"case": f"case_{number:02d}", "class": name}
    return line | {"hd95_mm": 20 * (1 - dice), "volume_error": dice - 1, "status": "ok"}


def _round(step: int, total: int, seed: int, means: list[Any]) -> dict[str, Any]:
    return {
        "round": step,
        "num_labeled": total,
        "selected": [f"pool_{(total + seed) % 20}"],
        "scores": {f"pool_{n}": 0.5 for n in range(20)},
        "cost": {"cases": total, "slices": 40 * total, "voxels": 1, "seconds": 60 * total},
        "metrics": means,
        "pseudo": None,
        "dead_classes": {},
    }


def _record(strategy: str, learner: str, seed: int) -> dict[str, Any]:
    factors = {"dataset": "made up", "strategy": strategy, "learner": learner}
    return {
        "key": f"{strategy}-{learner}-{seed}",
        "factors": factors | {"draw_seed": seed, "train_seed": 0},
        "budget": list(BUDGET),
        "unit": "volume",
        "classes": list(CLASSES),
        "versions": {"python": "3.11.0"},
        "split": {"pool": 20, "validation": 0, "test": CASES, "hash": "0"},
    }


def _timings() -> list[dict[str, Any]]:
    return [{"round": step, "stage": "student", "cpu_seconds": 2.5} for step in range(len(BUDGET))]


def rows() -> Iterator[Row]:
    """CPU and wall time, and the memory of the process."""
    yield row("salearn --help", used("--help"))
    for kind in ("strategies", "hosts", "arms"):
        yield row(f"salearn list {kind}", used("list", kind, "--json"))
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        root = Path(name)
        count = write_study(root)
        usage = used("report", str(root), "--json")
        if len({line["draw_seed"] for line in json.loads(usage.output)}) != SEEDS:
            raise RuntimeError("the report does not hold every cell")
        yield row(f"salearn report of {count} cells, {len(BUDGET)} rounds each", usage)


if __name__ == "__main__":
    emit(rows())
