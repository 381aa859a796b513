"""`python -m benchmarks [names...]`: run the benchmarks, each in a process of its own.

A process of its own gives each its own memory, and one that fails does not stop the others.
Results go to standard output (a table, or one JSON document with --json), progress to standard
error. Exit codes: 0 all ran, 1 some failed, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import Row, machine, table

HERE = Path(__file__).resolve().parent
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
TIMEOUT_S = 1800.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one benchmark gave: rows, or what went wrong."""

    name: str
    rows: list[Row]
    error: str | None
    cpu_s: float
    wall_s: float


def names() -> list[str]:
    """The benchmarks that there are: one for each file bench_NAME.py."""
    return sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))


def run(name: str, options: Sequence[str] = ()) -> Outcome:
    """Run one benchmark in a process of its own."""
    command = [sys.executable, "-m", f"benchmarks.bench_{name}", *options]
    start, before = time.perf_counter(), _cpu_of_children()
    rows, error = _rows(command)
    return Outcome(
        name=name,
        rows=rows,
        error=error,
        cpu_s=round(_cpu_of_children() - before, 1),
        wall_s=round(time.perf_counter() - start, 1),
    )


def _rows(command: Sequence[str]) -> tuple[list[Row], str | None]:
    try:
        done = subprocess.run(
            command,
            cwd=HERE.parent,
            env=os.environ | ONE_THREAD,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return [], f"took more than {TIMEOUT_S:g} s"
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode == 0:
        return rows, None
    last = done.stderr.strip().splitlines()[-1:] or ["nothing on standard error"]
    return rows, f"exit code {done.returncode}: {last[0]}"


def _cpu_of_children() -> float:
    times = os.times()
    return times.children_user + times.children_system


def document(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """All that was measured, as one JSON value."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": machine(),
        "rows": [row for outcome in outcomes for row in outcome.rows],
        "benches": [
            {"name": o.name, "cpu_s": o.cpu_s, "wall_s": o.wall_s, "error": o.error}
            for o in outcomes
        ],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run what is asked for; the exit code."""
    given = _parsed(argv)
    outcomes = []
    for name in given.names or names():
        _say(f"{name} ...")
        options = ["--demo"] if name == "demo" and given.demo else []
        outcomes.append(run(name, options))
        _say(_sentence(outcomes[-1]))
    result = document(outcomes)
    if given.out is not None:
        given.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1) if given.json else table(result["rows"]))
    return int(any(outcome.error for outcome in outcomes))


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"default: {', '.join(names())}")
    parser.add_argument("--json", action="store_true", help="one JSON document, no table")
    parser.add_argument("--out", type=Path, help="also write the JSON document to this file")
    parser.add_argument(
        "--demo", action="store_true", help="'demo' runs configs/demo.yaml whole: some minutes more"
    )
    given = parser.parse_args(argv)
    unknown = [name for name in given.names if name not in names()]
    if unknown:
        parser.error(f"no benchmark '{unknown[0]}'; there are {', '.join(names())}")
    return given


def _sentence(outcome: Outcome) -> str:
    how = f"FAILED: {outcome.error}" if outcome.error else "done"
    return f"{outcome.name}: {how} ({outcome.cpu_s} CPU-s, {outcome.wall_s} s wall)"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
