import numpy as np
import pytest
import scipy.stats

from salearn.stats.multiplicity import holm
from salearn.stats.penalty import merge, penalty_matrix

RNG = np.random.default_rng(0)
MEANS = {"random": (0.5, 0.6, 0.7), "hybrid": (0.6, 0.7, 0.7), "dkd": (0.5, 0.6, 0.8)}
CURVES = {name: {s: RNG.normal(mean, 0.01) for s in range(5)} for name, mean in MEANS.items()}


def paired_p(first, second, budget):
    a, b = ([CURVES[name][s][budget] for s in range(5)] for name in (first, second))
    return scipy.stats.ttest_rel(a, b).pvalue


def test_unadjusted_p_values_are_scipys_paired_t_tests():
    found = penalty_matrix(CURVES, correction=None)
    for budget in range(3):
        assert found.p[0, 1, budget] == pytest.approx(paired_p("random", "hybrid", budget))
        assert found.p[2, 1, budget] == pytest.approx(paired_p("hybrid", "dkd", budget))


def test_holm_runs_over_all_pairs_and_budgets():
    plain = penalty_matrix(CURVES, correction=None).p
    rows, columns = np.triu_indices(3, 1)
    expected = holm(plain[rows, columns].ravel())
    assert penalty_matrix(CURVES).p[rows, columns].ravel() == pytest.approx(expected)


def test_a_win_counts_one_over_the_number_of_budgets():
    found = penalty_matrix(CURVES)
    assert found.wins[1] == pytest.approx([2 / 3, 0, 2 / 3])  # hybrid at the first two budgets
    assert found.wins[2] == pytest.approx([1 / 3, 1 / 3, 0])  # dkd at the last
    assert found.wins[0] == pytest.approx([0, 0, 0])
    assert found.penalty() == pytest.approx({"random": 0.5, "hybrid": 1 / 6, "dkd": 1 / 3})
    lower = penalty_matrix(CURVES, higher_is_better=False)
    assert lower.wins == pytest.approx(found.wins.T)


def test_runs_are_paired_by_seed_and_not_by_order():
    shuffled = {**CURVES, "dkd": {s: CURVES["dkd"][s] for s in (3, 1, 4, 0, 2)}}
    assert penalty_matrix(shuffled).p == pytest.approx(penalty_matrix(CURVES).p, nan_ok=True)
    fewer = {**CURVES, "dkd": {s: CURVES["dkd"][s] for s in (0, 3, 4)}}
    assert penalty_matrix(fewer).seeds[0].tolist() == [0, 5, 3]


def test_four_seeds_need_a_difference_of_one_point_six_deviations():
    four = {name: {s: runs[s] for s in range(4)} for name, runs in CURVES.items()}
    assert "exceed 1.59 of" in penalty_matrix(four).note
    ten = {n: {s: r[s % 5] + RNG.normal(0, 1, 3) for s in range(10)} for n, r in CURVES.items()}
    assert "exceed 0.72 of" in penalty_matrix(ten).note


def test_without_common_seeds_or_spread_there_is_no_decision():
    apart = {"a": {0: [0.1], 1: [0.2]}, "b": {1: [0.3], 2: [0.4]}}
    found = penalty_matrix(apart)
    assert np.isnan(found.p).all()
    assert not found.wins.any()
    assert "no test" in found.note
    constant = {"a": {0: [0.1], 1: [0.2]}, "b": {0: [0.3], 1: [0.4]}}
    assert np.isnan(penalty_matrix(constant).p[0, 1]).all()


def test_settings_are_summed():
    one = penalty_matrix(CURVES)
    both = merge([one, one])
    assert both.wins == pytest.approx(2 * one.wins)
    assert both.p.shape == (3, 3, 6)
    with pytest.raises(ValueError, match="same strategies"):
        merge([])
    with pytest.raises(ValueError, match="one length"):
        penalty_matrix({"a": {0: [0.1]}, "b": {0: [0.1, 0.2]}})
