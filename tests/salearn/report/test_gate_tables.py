"""The gate's and SFR+'s tables, from made-up records."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from salearn.report.gate import gate_cells, turn_cells
from salearn.report.runs import Run

SUM = {"num_cases": 3, "voxel_accuracy": 0.9}


def made(seed: int, gate: dict[str, Any] | None, **fields: Any) -> Run:
    factors = {"dataset": "d", "strategy": "random", "learner": "sfr_mean_teacher",
               "draw_seed": seed, "train_seed": 0}  # fmt: skip
    record = {"key": str(seed), "factors": factors, "budget": [4]}
    rounds = ({"round": 0, "num_labeled": 4, "gate": gate, **fields},)
    return Run(path=Path("."), record=record, rounds=rounds, config="", cases=pa.table({}))


def test_the_gate_table_averages_seeds_and_counts_closings() -> None:
    audit = {
        "admitted": SUM | {"voxel_precision": 0.8, "dice": 0.7},
        "refused": SUM | {"voxel_precision": None, "dice": 0.5},
    }
    open_ = {"num_made": 40, "num_admitted": 30, "weight": 1.0, "closed": False,
             "agreement_mean": 0.75}  # fmt: skip
    closed = {"num_made": 40, "num_admitted": 20, "weight": 0.0, "closed": True}
    table = gate_cells([made(0, open_, audit=audit), made(1, closed)], "gate")
    assert table is not None
    assert table.rows == [["random", "sfr_mean_teacher", "4", "25 / 40", "0.5", "1 of 2", "0.750",
                           "0.800", "-", "0.700", "0.500"]]  # fmt: skip
    assert gate_cells([made(0, None)], "gate") is None
    assert gate_cells([], "gate") is None


def test_the_turn_table_says_how_many_runs_went_on() -> None:
    first = {"turn": 0, "gate": {}}
    later = {"turn": 1, "num_high": 5, "num_low": 15, "confidence_mean": 0.9,
             "confidence_min": 0.5}  # fmt: skip
    runs = [made(0, None, turns=[first, later]), made(1, None, turns=[first])]
    table = turn_cells(runs, "turns")
    assert table is not None
    assert [row[3:] for row in table.rows] == [
        ["0", "2", "-", "-", "-", "-"],
        ["1", "1", "5", "15", "0.900", "0.500"],
    ]
    assert turn_cells([made(0, None)], "turns") is None
