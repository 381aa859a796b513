"""The golden run: one small study of phantoms through the whole machine, and its stored result.

    python tests/tools/golden_run.py       (stores the result anew)

Store it anew only together with a line in docs/log.md that says what changed and why. What is
stored are selected units and rounded scores, no hashes: they hold over versions of the code that
compute the same, and to the tolerance of the test over machines.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

STORED = Path(__file__).resolve().parents[1] / "golden" / "run.json"
PLACE = "round", "split", "stage", "class"
SCORES = "dice", "hd95_mm", "assd_mm"


def settings(folder: Path) -> dict[str, Any]:
    """Two rounds of hybrid and SFR with Mean Teacher, trained just enough to find something."""
    return {
        "data": {
            "phantom_cases": 10,
            "axis": 1,
            "split": {"test": 3, "validation": 0, "seed": 0},
        },
        "budget": [1, 2],
        "strategy": "hybrid",
        "learner": "sfr_mean_teacher",
        "max_unlabeled": 3,
        "sam": {"weights": "tiny"},
        "stitch": {"tile": [32, 32], "fit": "crop"},
        "finetune": {"iterations": 12},
        "student": {"iterations": 40, "width": 4, "depth": 2, "patch": [16, 24, 16]},
        "out": str(folder / "run"),
        "store": str(folder / "store"),
    }


def measured(folder: Path) -> dict[str, Any]:
    """Run it; what is compared."""
    from loops.cell import run_cell
    from loops.config import parse_run
    from salearn.store import read_lines

    run_cell(parse_run(settings(folder), "golden"))
    rounds = read_lines(folder / "run" / "rounds.jsonl")
    return {
        "selected": [record["selected"] for record in rounds],
        "num_labeled": [record["num_labeled"] for record in rounds],
        "pseudo": [[record["pseudo"]["num_cases"]] for record in rounds],
        "scores": [_row(record["round"], row) for record in rounds for row in record["metrics"]],
    }


def _row(index: int, row: dict[str, Any]) -> dict[str, Any]:
    values = {name: None if row[name] is None else round(row[name], 4) for name in SCORES}
    return {name: (row | {"round": index})[name] for name in PLACE} | values


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[2])]
    with tempfile.TemporaryDirectory() as name:
        STORED.write_text(json.dumps(measured(Path(name)), indent=1) + "\n")
    print(STORED)
