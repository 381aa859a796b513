"""Schedules of new masks per round."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.budget import Schedule, totals
from salearn.errors import ConfigError

FEW = settings(max_examples=25, deadline=None, derandomize=True)


def test_totals_by_hand() -> None:
    schedule = Schedule.of_totals((1, 2, 4, 8))
    assert schedule.per_round == (1, 1, 2, 4)
    assert schedule.cumulative == (1, 2, 4, 8)
    assert schedule.total == 8


def test_an_even_schedule_gives_the_rest_to_the_first_rounds() -> None:
    assert Schedule.even(7, 3).per_round == (3, 2, 2)


@FEW
@given(st.integers(1, 200), st.integers(1, 20))
def test_even_spends_exactly_the_total_in_nearly_equal_rounds(total: int, rounds: int) -> None:
    if total < rounds:
        with pytest.raises(ConfigError, match="cannot be spread"):
            Schedule.even(total, rounds)
        return
    made = Schedule.even(total, rounds)
    assert made.total == total
    assert len(made.per_round) == rounds
    assert max(made.per_round) - min(made.per_round) <= 1


@FEW
@given(st.sets(st.integers(1, 500), min_size=1, max_size=12))
def test_totals_come_back_as_the_cumulative_budget(totals: set[int]) -> None:
    rising = tuple(sorted(totals))
    assert Schedule.of_totals(rising).cumulative == rising


@pytest.mark.parametrize("totals", [(2, 2), (4, 1), (0, 1), (-3,), (), (0,)])
def test_totals_that_do_not_rise_are_refused(totals: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="budget"):
        Schedule.of_totals(totals)


@pytest.mark.parametrize("per_round", [(), (0,), (3, -1)])
def test_a_round_without_masks_is_refused(per_round: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="budget"):
        Schedule(per_round)


@pytest.mark.parametrize(
    ("num_units", "shares", "expected"),
    [
        (3500, (0.1, 0.25, 0.5, 1.0), (350, 875, 1750, 3500)),
        (70, (0.1, 0.25, 0.5, 1.0), (7, 18, 35, 70)),
        (7, (0.1, 0.25, 0.5, 1.0), (1, 2, 4, 7)),
        (40, (1, 0.25, 20), (1, 10, 20)),
    ],
)
def test_shares_are_rounded_half_up_and_at_least_one(
    num_units: int, shares: tuple[int | float, ...], expected: tuple[int, ...]
) -> None:
    assert totals(shares, num_units) == expected


@pytest.mark.parametrize("share", [0.0, -0.5, 1.5])
def test_a_share_outside_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match="neither a whole number nor a share"):
        totals((share,), 10)
