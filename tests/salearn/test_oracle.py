"""The oracle hands out what was annotated, writes it down, and nothing else."""

from pathlib import Path

import numpy as np
import pytest

from salearn.cases import CaseId, UnitId
from salearn.errors import DataError
from salearn.oracle import CostModel, Oracle
from salearn.store import read_lines


class Reader:
    """Masks of 4 x 4 x 3 with 2 foreground voxels in slice 1 along z; counts what it opens."""

    def __init__(self) -> None:
        self.opened: list[str] = []

    def __call__(self, case: CaseId) -> np.ndarray:
        self.opened.append(case)
        mask = np.zeros((4, 4, 3), np.uint8)
        mask[1, 1:3, 1] = 1
        return mask


def make(tmp_path: Path, reader: Reader) -> Oracle:
    cost = CostModel(per_unit=10, per_slice=5, per_voxel=1)
    return Oracle(reader, tmp_path / "queries.jsonl", cost, axis=2)


def test_no_file_is_opened_before_a_unit_is_annotated(tmp_path: Path) -> None:
    reader = Reader()
    oracle = make(tmp_path, reader)
    with pytest.raises(DataError, match="nobody annotated"):
        oracle.mask(CaseId("a"))
    assert reader.opened == []


def test_the_log_is_the_budget_that_was_spent(tmp_path: Path) -> None:
    oracle = make(tmp_path, Reader())
    oracle.annotate([UnitId("a"), UnitId("b")], round=0)
    oracle.annotate([UnitId("a")], round=1)  # again: free of charge
    # one unit: 10 s + 5 s for the one slice with foreground + 2 voxels = 17 s
    assert oracle.spent() == {"cases": 2, "slices": 2, "voxels": 4, "seconds": 34.0}
    lines = read_lines(tmp_path / "queries.jsonl")
    assert [(line["unit"], line["round"]) for line in lines] == [("a", 0), ("b", 0)]


def test_spent_can_be_asked_for_an_earlier_round(tmp_path: Path) -> None:
    oracle = make(tmp_path, Reader())
    oracle.annotate([UnitId("a")], round=0)
    oracle.annotate([UnitId("b")], round=1)
    assert oracle.spent(until_round=0)["cases"] == 1


def test_slices_nobody_annotated_are_ignored(tmp_path: Path) -> None:
    oracle = make(tmp_path, Reader())
    oracle.annotate([UnitId("a@001")], round=0)
    mask = oracle.mask(CaseId("a"))
    assert (mask[..., [0, 2]] == 255).all()
    assert mask[1, 1, 1] == 1
    assert oracle.foreground(UnitId("a@001"))
    oracle.annotate([UnitId("a@000")], round=1)
    assert not oracle.foreground(UnitId("a@000"))
    with pytest.raises(KeyError):
        oracle.foreground(UnitId("a@002"))


def test_masks_for_measuring_are_logged_apart_and_cost_no_budget(tmp_path: Path) -> None:
    oracle = make(tmp_path, Reader())
    oracle.reveal(CaseId("t"), "test", round=0)
    oracle.reveal(CaseId("t"), "test", round=1)
    assert oracle.spent()["seconds"] == 0
    assert [line["purpose"] for line in read_lines(tmp_path / "queries.jsonl")] == ["test"]
    with pytest.raises(DataError):
        oracle.mask(CaseId("t"))


def test_a_new_oracle_on_the_same_log_remembers(tmp_path: Path) -> None:
    make(tmp_path, Reader()).annotate([UnitId("a")], round=0)
    oracle = make(tmp_path, Reader())
    oracle.annotate([UnitId("a")], round=0)
    assert oracle.mask(CaseId("a")).max() == 1
    assert len(read_lines(tmp_path / "queries.jsonl")) == 1


def test_the_digest_follows_what_is_annotated(tmp_path: Path) -> None:
    oracle = make(tmp_path, Reader())
    oracle.annotate([UnitId("a@001")], round=0)
    before = oracle.digest(CaseId("a"))
    oracle.annotate([UnitId("a@002")], round=1)
    assert oracle.digest(CaseId("a")) != before
