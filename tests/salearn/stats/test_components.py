import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.stats.components import (
    Components,
    balanced,
    components,
    crossed_t_test,
    mean_squares,
)
from salearn.stats.power import simulate
from salearn.stats.refuse import RefusedTest

PARTS = Components(case=0.05, draw=0.03, train=0.01, residual=0.02)


def test_the_standard_error_by_hand():
    expected = 0.05**2 / 40 + 0.03**2 / 3 + 0.01**2 / 6 + 0.02**2 / 240
    assert PARTS.standard_error(40, 3, 2) == pytest.approx(math.sqrt(expected))


def test_components_come_back_from_a_large_table():
    table = simulate(0.1, PARTS, cases=400, draws=150, trains=2, rng=np.random.default_rng(0))
    found = components(table, [d for d in range(150) for _ in range(2)])
    for name in ("case", "draw", "train", "residual"):
        assert getattr(found, name) == pytest.approx(getattr(PARTS, name), rel=0.15), name


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_the_sums_of_squares_add_up(seed):
    table = np.random.default_rng(seed).normal(size=(6, 7))
    s = mean_squares(table, [0, 0, 1, 1, 2, 2])
    parts = s.draw * 2 + s.train * 3 + s.case * 6 + s.residual * 5 * 6
    assert parts == pytest.approx(((table - table.mean()) ** 2).sum())


def test_a_single_run_is_the_paired_t_test():
    gaps = np.random.default_rng(0).normal(0.1, 1, (1, 20))
    found = crossed_t_test(gaps, [0])
    assert found.p_value == pytest.approx(scipy.stats.ttest_1samp(gaps[0], 0).pvalue)
    assert "these two checkpoints" in found.note
    one = components(gaps, [0])
    assert one.case == pytest.approx(np.std(gaps, ddof=1))
    assert (one.draw, one.residual) == (0, 0)


def test_when_only_seeds_vary_it_is_the_t_test_over_seeds():
    effects = np.random.default_rng(1).normal(0.1, 1, 6)
    table = np.repeat(effects[:, None], 9, axis=1)
    found = crossed_t_test(table, list(range(6)))
    assert found.p_value == pytest.approx(scipy.stats.ttest_1samp(effects, 0).pvalue)
    assert found.details["df"] == pytest.approx(5)
    assert found.note == ""
    assert crossed_t_test(table, [0] * 6).p_value == pytest.approx(found.p_value)


def test_quiet_seeds_add_no_variance():
    # Every seed has mean 11/6, so its mean square is 0, below the residual one.
    table = np.array([[0.1, 1.5, 3.9], [0.5, 1.9, 3.1], [0.9, 1.1, 3.5]])
    found = crossed_t_test(table, [0, 1, 2])
    cases = table.mean(axis=0)
    assert found.details["standard_error"] == pytest.approx(cases.std(ddof=1) / math.sqrt(3))
    s = mean_squares(table, [0, 1, 2])
    assert s.draw == pytest.approx(0, abs=1e-12)
    expected = s.case**2 / (s.case**2 / 2 + s.residual**2 / 4)
    assert found.details["df"] == pytest.approx(expected)
    assert "3 seeds" in found.note


def test_no_spread_means_no_test():
    assert math.isnan(crossed_t_test(np.zeros((2, 3)), [0, 1]).p_value)


def test_tables_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="every draw needs as many"):
        balanced(np.zeros((3, 4)), [0, 0, 1])
    with pytest.raises(ValueError, match="finite"):
        mean_squares(np.full((2, 4), np.nan), [0, 1])
    with pytest.raises(ValueError, match="2 cases"):
        components(np.zeros((2, 1)), [0, 1])
    with pytest.raises(RefusedTest, match="at least 2"):
        crossed_t_test(np.zeros((2, 1)), [0, 1])
    with pytest.raises(RefusedTest, match="voxels"):
        crossed_t_test(np.zeros((2, 5)), [0, 1], unit="voxel")
