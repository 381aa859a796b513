"""The outer loop with stand-ins that count: the log is the state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loops.outer import run
from salearn.budget import Schedule
from salearn.cases import Pool, Selection, UnitId, best
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.store import read_lines


class Random:
    """Random units; says what it must not know."""

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        return best(dict.fromkeys(pool.unlabeled, 0.0), n, rng)


class Inner:
    """Counts trainings; may die in one of them."""

    def __init__(self, dies_in: int | None = None) -> None:
        self.trained: list[int] = []
        self.dies_in = dies_in

    def evidence(self, pool: Pool, round: int) -> Any:
        return None

    def train(self, pool: Pool, round: int) -> dict[str, Any]:
        if round == self.dies_in:
            raise KeyboardInterrupt
        self.trained.append(round)
        return {"metrics": len(pool.labeled)}


class Free:
    """An annotator who counts."""

    def __init__(self) -> None:
        self.units: list[UnitId] = []

    def annotate(self, units: Sequence[UnitId], round: int) -> None:
        self.units += units

    def spent(self, until_round: int | None = None) -> dict[str, float]:
        return {"cases": float(len(self.units))}


POOL = Pool(labeled=(), unlabeled=tuple(UnitId(f"c{i}") for i in range(12)))


def rounds(log: Path, inner: Inner, seed: int = 3, pool: Pool = POOL) -> list[dict[str, Any]]:
    return list(
        run(
            strategy=Random(),
            inner=inner,
            oracle=Free(),
            pool=pool,
            schedule=Schedule((1, 2, 4)),
            log=log,
            seed=seed,
        )
    )


def test_a_cut_run_goes_on_where_it_was_and_equals_a_whole_one(tmp_path: Path) -> None:
    whole = rounds(tmp_path / "whole.jsonl", Inner())
    cut = Inner(dies_in=1)
    with pytest.raises(KeyboardInterrupt):
        rounds(tmp_path / "cut.jsonl", cut)
    resumed = Inner()
    again = rounds(tmp_path / "cut.jsonl", resumed)
    assert (cut.trained, resumed.trained) == ([0], [1, 2])
    assert [r["selected"] for r in again] == [r["selected"] for r in whole]
    assert [r["num_labeled"] for r in whole] == [1, 3, 7]


def test_the_same_command_twice_trains_nothing_twice(tmp_path: Path) -> None:
    first = rounds(tmp_path / "log.jsonl", Inner())
    second = Inner()
    assert rounds(tmp_path / "log.jsonl", second) == read_lines(tmp_path / "log.jsonl")
    assert second.trained == []
    assert [r["round"] for r in first] == [0, 1, 2]


def test_the_order_of_the_pool_and_the_seed_decide_as_they_should(tmp_path: Path) -> None:
    mixed = Pool(labeled=(), unlabeled=POOL.unlabeled[::-1])
    a = rounds(tmp_path / "a.jsonl", Inner())
    b = rounds(tmp_path / "b.jsonl", Inner(), pool=mixed)
    c = rounds(tmp_path / "c.jsonl", Inner(), seed=4)
    assert [r["selected"] for r in a] == [r["selected"] for r in b]
    assert [r["selected"] for r in a] != [r["selected"] for r in c]


def test_a_budget_larger_than_the_pool_is_refused_before_anything_runs(tmp_path: Path) -> None:
    inner = Inner()
    with pytest.raises(ConfigError, match="7 annotated units are asked for, but only 3"):
        rounds(tmp_path / "log.jsonl", inner, pool=Pool(labeled=(), unlabeled=POOL.unlabeled[:3]))
    assert inner.trained == []


def test_a_log_of_other_data_is_refused(tmp_path: Path) -> None:
    rounds(tmp_path / "log.jsonl", Inner())
    other = Pool(labeled=(), unlabeled=tuple(UnitId(f"x{i}") for i in range(12)))
    with pytest.raises(ConfigError, match="other data or another split"):
        rounds(tmp_path / "log.jsonl", Inner(), pool=other)
