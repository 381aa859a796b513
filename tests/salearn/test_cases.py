"""Unit ids, the pool, and how the best are taken."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.cases import CaseId, Pool, UnitId, best, check_request, parse_unit, shuffled, unit_id

FEW = settings(max_examples=25, deadline=None, derandomize=True)


def ids(*names: str) -> tuple[UnitId, ...]:
    return tuple(UnitId(n) for n in names)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@FEW
@given(st.text(alphabet="ab@_-0", max_size=8), st.integers(0, 5000))
def test_a_slice_id_can_be_taken_apart_again(case: str, index: int) -> None:
    assert parse_unit(unit_id(CaseId(case), index)) == (case, index)


def test_ids_by_hand() -> None:
    assert unit_id(CaseId("case"), 12) == "case@012"
    assert unit_id(CaseId("case")) == "case"
    assert parse_unit(UnitId("case")) == ("case", None)


def test_annotated_units_change_sides_and_the_old_pool_stays() -> None:
    pool = Pool(labeled=ids("a"), unlabeled=ids("b", "c", "d"))
    after = pool.after(ids("d", "b"))
    assert after == Pool(labeled=ids("a", "d", "b"), unlabeled=ids("c"))
    assert pool.unlabeled == ids("b", "c", "d")


def test_units_that_are_not_unlabeled_or_named_twice_are_refused() -> None:
    pool = Pool(labeled=ids("a"), unlabeled=ids("b", "c"))
    with pytest.raises(ValueError, match="'a'"):
        pool.after(ids("a"))
    with pytest.raises(ValueError, match="distinct"):
        pool.after(ids("b", "b"))


def test_requests_beyond_the_pool_are_refused_with_both_numbers() -> None:
    pool = Pool(labeled=(), unlabeled=ids("b", "c"))
    check_request(pool, 2)
    for n in (3, -1):
        with pytest.raises(ValueError, match=rf"{n} .* 2 "):
            check_request(pool, n)


def test_the_shuffle_depends_on_the_set_and_the_seed_only() -> None:
    units = ids(*"abcdefgh")
    assert shuffled(units, rng()) == shuffled(units[::-1], rng())
    assert sorted(shuffled(units, rng())) == list(units)
    assert shuffled(units, rng()) != shuffled(units, rng(1))


def test_the_best_come_first_and_everybodys_score_with_them() -> None:
    scores = dict(zip(ids("a", "b", "c"), (1.0, 3.0, 2.0), strict=True))
    answer = best(scores, 2, rng())
    assert answer.unit_ids == ids("b", "c")
    assert dict(answer.scores) == scores


def test_ties_are_broken_by_the_seed_and_not_by_the_order() -> None:
    scores = dict.fromkeys(ids(*"abcdefgh"), 0.0)
    turned = dict(reversed(scores.items()))
    assert best(scores, 3, rng()).unit_ids == best(turned, 3, rng()).unit_ids
    assert len({best(scores, 3, rng(seed)).unit_ids for seed in range(8)}) > 1


def test_scores_that_are_not_finite_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="'b'"):
        best({UnitId("a"): 1.0, UnitId("b"): float("nan")}, 1, rng())
    with pytest.raises(ValueError, match="2 units, but 1"):
        best({UnitId("a"): 1.0}, 2, rng())
