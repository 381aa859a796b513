"""What a sweep costs beside its cells: start-up, each cell, and wall time against the ideal.

python -m benchmarks.bench_sweep [--cells 4] [--iterations 40]

The ideal is the sum of the cells' own seconds (from the ledger) over the cores that they had. The
ratio means something on a quiet machine and with cells of 20 s or more (--iterations 4000).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench_demo import used
from benchmarks.chaos_sweep import study_file
from benchmarks.common import Row, emit, lone_row
from loops.studies.ledger import Ledger
from loops.studies.study import load_study


def rows(cells: int, iterations: int, backends: Sequence[str] = ("serial", "ray")) -> list[Row]:
    """For each backend a whole study, and the same command again."""
    found = []
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        for backend in backends:
            path = study_file(Path(name) / backend, cells, backend, iterations)
            found += [_whole(path, backend), _nothing(path, backend)]
    return found


def _whole(path: Path, backend: str) -> Row:
    usage = used("sweep", str(path), "--json")
    study = load_study(path)
    claims = Ledger(study.out).claims
    own = [(claims.last(cell.key) or {})["seconds"] for cell in study.cells]
    at_once = 1 if backend == "serial" else min(os.cpu_count() or 1, len(own))
    ideal = sum(own) / at_once
    each = (usage.wall_s - ideal) * at_once / len(own)
    what = (
        f"{len(own)} cells of {sum(own) / len(own):.1f} s by {backend}: wall / ideal = "
        f"{usage.wall_s / ideal:.2f}, {each:.1f} s beside each cell"
    )
    row = lone_row("sweep", what, 1, usage.cpu_s, round(usage.peak_mib, 1))
    return Row(**row | {"wall_s": round(usage.wall_s, 1)})


def _nothing(path: Path, backend: str) -> Row:
    usage = used("sweep", str(path), "--json")
    row = lone_row("sweep", f"the same again by {backend}: nothing to do", 1, usage.cpu_s, None)
    return Row(**row | {"wall_s": round(usage.wall_s, 1)})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_sweep")
    parser.add_argument("--cells", type=int, default=4)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--backends", nargs="+", default=["serial", "ray"])
    given = parser.parse_args()
    emit(rows(given.cells, given.iterations, given.backends))
