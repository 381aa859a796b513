import math

import numpy as np
import pytest
import scipy.optimize
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.metrics.extrapolate import (
    efficiency,
    fit_power_law,
    forecast,
    hold_out,
    masks_needed,
)

MASKS = (1, 2, 4, 8, 16)


def curve(a=0.9, b=0.3, c=0.6, n=MASKS):
    return a - b * np.asarray(n, dtype=float) ** -c


def noisy(rng, replicates=200, spread=0.003, **law):
    return curve(**law) + rng.normal(0, spread, (replicates, len(MASKS)))


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.floats(0.5, 0.99), st.floats(0.05, 0.5), st.floats(0.1, 2))
def test_a_power_law_is_found_again(a, b, c):
    found = fit_power_law(MASKS, curve(a, b, c)[None])
    assert found.at(np.array(MASKS, dtype=float))[0] == pytest.approx(curve(a, b, c), abs=1e-5)
    assert found.a[0] == pytest.approx(a, abs=0.005)
    assert found.c[0] == pytest.approx(c, rel=0.03)


def test_the_fit_is_scipys_on_noisy_values():
    values = noisy(np.random.default_rng(0), 1, 0.01)[0]
    theirs, _ = scipy.optimize.curve_fit(
        lambda n, a, b, c: a - b * n**-c, MASKS, values, p0=(0.9, 0.3, 0.6)
    )
    found = fit_power_law(MASKS, values[None])
    assert [found.a[0], found.b[0], found.c[0]] == pytest.approx(theirs, abs=2e-3)


def test_dice_cannot_pass_one_and_more_masks_do_not_hurt():
    steep = np.array([0.5, 0.6, 0.7, 0.8, 0.9])
    assert fit_power_law(MASKS, steep[None]).a[0] <= 1
    falling = fit_power_law(MASKS, steep[None, ::-1])
    assert falling.b[0] == 0
    assert falling.at(np.array([100.0]))[0, 0] == pytest.approx(0.7)


def test_how_many_masks_by_hand():
    # .9 - .3 n^-.6 = .85 at n = 6^(1/.6)
    drawn = noisy(np.random.default_rng(1))
    found = masks_needed(MASKS, curve(), drawn, 0.85)
    assert found.estimate == pytest.approx(6 ** (1 / 0.6), rel=0.01)
    assert found.low < found.estimate < found.high
    assert found.unreachable < 0.05


def test_a_target_above_the_asymptote_is_out_of_reach():
    found = masks_needed(MASKS, curve(), noisy(np.random.default_rng(1)), 0.97)
    assert math.isinf(found.estimate)
    assert math.isinf(found.high)
    assert found.unreachable > 0.9


def test_hidden_budgets_are_predicted():
    drawn = noisy(np.random.default_rng(2))
    rows = hold_out(MASKS, curve(), drawn, hidden=2)
    assert [row.masks for row in rows] == [8, 16]
    assert all(row.covered and abs(row.error) < 1e-3 for row in rows)
    assert all(abs(row.error) < row.naive_error for row in rows)


def test_a_curve_that_bends_after_the_shown_part_is_found_out():
    bent = curve()
    bent[-1] = 0.6
    drawn = bent + np.random.default_rng(3).normal(0, 0.003, (200, 5))
    assert not hold_out(MASKS, bent, drawn)[0].covered


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng, hits = np.random.default_rng(4), 0
    for _ in range(60):
        seen = noisy(rng, 1)[0]
        drawn = seen + rng.normal(0, 0.003, (150, 5))
        found = forecast(MASKS, seen, drawn, [32])[0]
        hits += found.low <= curve(n=np.array([32.0]))[0] <= found.high
    assert hits / 60 > 0.85


def test_too_few_budgets_are_refused():
    with pytest.raises(ValueError, match="at least 3"):
        fit_power_law((1, 2), np.ones((1, 2)))
    with pytest.raises(ValueError, match="rising"):
        fit_power_law((1, 2, 2), np.ones((1, 3)))
    with pytest.raises(ValueError, match="fewer than 3"):
        hold_out(MASKS, curve(), curve()[None], hidden=3)


def test_the_efficiency_of_an_exponential_curve():
    share = np.array([0.01, 0.02, 0.04, 0.08])
    values = 0.9 - 0.4 * np.exp(-25.0 * (share - 0.01))
    slower = 0.9 - 0.4 * np.exp(-5.0 * (share - 0.01))
    found = efficiency(share, np.stack([values, slower]), full=0.9)
    assert found == pytest.approx([25, 5], rel=0.01)
    with pytest.raises(ValueError, match="below the full"):
        efficiency(share, values[None], full=0.4)
