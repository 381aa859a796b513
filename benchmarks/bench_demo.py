"""The command line as a user meets it: help, a small run through the whole machine, a restart."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from benchmarks.common import Row, emit, lone_row

ROOT = Path(__file__).resolve().parents[1]
SALEARN = [sys.executable, "-c", "from loops.cli import main; main()"]


@dataclass(frozen=True)
class Usage:
    """What a command and the processes it waited for used."""

    cpu_s: float
    wall_s: float
    peak_mib: float
    output: str


def small(folder: Path) -> dict[str, Any]:
    """Two rounds of everything, with trainings of a few steps."""
    return {
        "data": {
            "phantom_cases": 9,
            "axis": 1,
            "split": {"test": 2, "validation": 1, "seed": 0},
        },
        "budget": [1, 2],
        "strategy": "hybrid",
        "learner": "sfr_mean_teacher",
        "max_unlabeled": 3,
        "stitch": {"tile": [32, 32], "fit": "crop"},
        "finetune": {"iterations": 4},
        "student": {"iterations": 10},
        "out": str(folder / "run"),
        "store": str(folder / "store"),
    }


def used(*arguments: str) -> Usage:
    """Run a verb of salearn to its end.

    Raises:
        RuntimeError: it failed.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        start = time.perf_counter()
        process = subprocess.Popen([*SALEARN, *arguments], cwd=ROOT, stdout=out, stderr=err)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        if process.returncode:
            raise RuntimeError(f"salearn {' '.join(arguments)}: {err.read().strip()[-2000:]}")
        cpu = usage.ru_utime + usage.ru_stime
        return Usage(cpu, wall, usage.ru_maxrss / 1024, out.read())


def row(what: str, usage: Usage) -> Row:
    """Peak memory is that of the largest process, not growth."""
    lone = lone_row("demo", what, 1, usage.cpu_s, round(usage.peak_mib, 1))
    return Row(**lone | {"wall_s": round(usage.wall_s, 1)})


def small_run(folder: Path) -> list[Row]:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(small(folder)))
    first, second = (used("run", str(path), "--json") for _ in range(2))
    if (ran := json.loads(second.output)["ran"]) != 0:
        raise RuntimeError(f"the same command again ran {ran} rounds that were done")
    return [row("small run, 2 rounds", first), row("the same again: nothing to do", second)]


def whole_demo(folder: Path) -> list[Row]:
    """Ray's workers are not children that the command waits for: only wall time is whole."""
    usage = used("sweep", "configs/demo.yaml", f"study.out={folder}", "--json")
    return [row("configs/demo.yaml, CPU and memory of the main process", usage)]


def rows(demo: bool = False) -> list[Row]:
    """The help page, a small run, the same again; with `demo` the whole demonstration too."""
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        folder = Path(name)
        found = [row("salearn --help", used("--help")), *small_run(folder)]
        return found + (whole_demo(folder / "study") if demo else [])


if __name__ == "__main__":
    emit(rows("--demo" in sys.argv[1:]))
