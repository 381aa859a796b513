import math

import pytest
from sklearn.metrics import auc

from salearn.metrics.curves import aubc, budget_to_target, normalised_aubc

DICE = (0.5, 0.7, 0.8)
MASKS = (1, 2, 6)


def test_the_area_on_the_loop_axis_by_hand():
    assert aubc(DICE) == pytest.approx((0.6 + 0.75) / 2)


def test_the_area_on_the_cost_axis_by_hand():
    assert aubc(DICE, MASKS) == pytest.approx((0.6 * 1 + 0.75 * 4) / 5)
    assert aubc(DICE, MASKS) == pytest.approx(auc(MASKS, DICE) / 5)


def test_doubling_budgets_on_a_log_axis_are_the_loop_axis():
    assert aubc(DICE, (1, 2, 4), log=True) == pytest.approx(aubc(DICE))


def test_a_constant_curve_or_a_single_point_gives_its_value():
    assert aubc((0.4, 0.4, 0.4), MASKS) == pytest.approx(0.4)
    assert aubc((0.4,)) == 0.4


def test_a_missing_value_is_not_skipped_in_silence():
    assert math.isnan(aubc((0.5, math.nan, 0.8)))


@pytest.mark.parametrize(
    ("values", "costs", "log"),
    [((), None, False), (DICE, (1, 2), False), (DICE, (1, 2, 2), False), (DICE, (0, 1, 2), True)],
)
def test_curves_that_are_none_are_refused(values, costs, log):
    with pytest.raises(ValueError, match=r"cost|rise"):
        aubc(values, costs, log)


def test_the_normalised_area_runs_from_no_to_full_supervision():
    assert normalised_aubc(0.675, zero=0.1, full=0.9) == pytest.approx(0.575 / 0.8)
    assert normalised_aubc(0.1, 0.1, 0.9) == 0.0
    assert normalised_aubc(0.9, 0.1, 0.9) == 1.0
    with pytest.raises(ValueError, match="same value"):
        normalised_aubc(0.5, 0.9, 0.9)


def test_the_budget_to_a_target_is_interpolated():
    assert budget_to_target(DICE, MASKS, 0.75) == pytest.approx(4.0)  # half way from 2 to 6
    assert budget_to_target(DICE, MASKS, 0.8) == pytest.approx(6.0)
    assert budget_to_target(DICE, MASKS, 0.5) == 1


def test_a_target_out_of_reach_is_censored():
    assert budget_to_target(DICE, MASKS, 0.81) is None


def test_the_first_crossing_counts_when_a_curve_falls_again():
    assert budget_to_target((0.5, 0.9, 0.6, 0.95), (1, 2, 4, 8), 0.7) == pytest.approx(1.5)
