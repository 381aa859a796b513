import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.stats.refuse import RefusedTest
from salearn.stats.signed_rank import hodges_lehmann, paired_differences, wilcoxon

PLANTS = np.array([6, 8, 14, 16, 23, 24, 28, 29, 41, -48, 49, 56, 60, -67, 75.0])
BEFORE = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
AFTER = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29])
TIES = np.array([0, 0, 1, 1, -1, 2, 2, 3, -2, 4.0])


def test_the_heights_of_fifteen_pairs_of_plants():
    found = wilcoxon(PLANTS, unit="case")
    assert found.p_value == 0.041259765625
    assert (found.statistic, found.details["w_minus"]) == (96, 24)
    assert found.details["rank_biserial"] == pytest.approx(0.6)
    greater = wilcoxon(PLANTS, unit="case", alternative="greater")
    assert greater.p_value == pytest.approx(0.0206298828, abs=1e-10)


def test_the_depression_scores_of_hollander_and_wolfe():
    gaps = BEFORE - AFTER
    found = wilcoxon(gaps, unit="patient")
    assert (found.statistic, found.p_value) == (40, 0.0390625)
    assert wilcoxon(gaps, unit="patient", alternative="greater").p_value == 0.01953125
    assert found.estimate == pytest.approx(0.46)
    assert found.interval == pytest.approx((0.010, 0.786))
    assert found.details["rank_biserial"] == pytest.approx(0.7778, abs=1e-4)
    # The same pairs by flipping the signs of the values themselves: 14 of 512 are as extreme.
    flips = np.array(list(itertools.product((-1, 1), repeat=9))) * np.abs(gaps)
    assert np.mean(np.abs(flips.sum(axis=1)) >= abs(gaps.sum()) - 1e-12) == 14 / 512


def test_zeros_and_ties_are_exact_too():
    found = wilcoxon(TIES, unit="case")
    assert found.statistic == 29
    assert found.p_value == pytest.approx(42 / 256, abs=1e-15)
    assert (found.details["zeros"], found.details["n_effective"]) == (2, 8)


@pytest.mark.parametrize(
    ("method", "correction", "p"),
    [
        ("wilcox", False, 0.119795),
        ("wilcox", True, 0.137564),
        ("pratt", False, 0.121831),
        ("pratt", True, 0.134768),
    ],
)
def test_the_normal_approximations_are_far_from_the_exact_value(method, correction, p):
    found = scipy.stats.wilcoxon(TIES, zero_method=method, correction=correction, method="approx")
    assert found.pvalue == pytest.approx(p, abs=1e-6)
    assert wilcoxon(TIES, unit="case").p_value - found.pvalue > 0.025


def test_pratt_by_all_sign_flips():
    ranks = scipy.stats.rankdata(np.abs(TIES))[TIES != 0]
    positive = TIES[TIES != 0] > 0
    sums = np.array([ranks[list(s)].sum() for s in itertools.product((False, True), repeat=8)])
    up = ranks[positive].sum()
    expected = min(1, 2 * min(np.mean(sums >= up), np.mean(sums <= up)))
    assert wilcoxon(TIES, unit="case", zeros="pratt").p_value == pytest.approx(expected)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(st.lists(st.integers(-6, 6), min_size=1, max_size=7))
def test_any_small_sample_agrees_with_scipys_enumeration(values):
    gaps = np.array(values, dtype=float)
    if (gaps != 0).sum() < 2:
        assert wilcoxon(gaps, unit="case").p_value == 1
        return
    method = scipy.stats.PermutationMethod(n_resamples=np.inf)
    theirs = scipy.stats.wilcoxon(gaps[gaps != 0], method=method)
    assert wilcoxon(gaps, unit="case").p_value == pytest.approx(theirs.pvalue)


def test_without_ties_it_is_scipys_exact_test_and_large_samples_are_normal():
    rng = np.random.default_rng(0)
    gaps = rng.normal(0.2, 1, 40)
    assert wilcoxon(gaps, unit="case").p_value == pytest.approx(
        scipy.stats.wilcoxon(gaps, method="exact").pvalue, abs=1e-14
    )
    many = rng.normal(0.1, 1, 201)
    found = wilcoxon(many, unit="case")
    assert "normal" in found.name
    assert found.p_value == pytest.approx(wilcoxon(many[:200], unit="case").p_value, abs=0.05)


@pytest.mark.parametrize(("n", "floor"), [(5, 0.0625), (6, 0.03125), (7, 0.015625), (8, 0.0078125)])
def test_the_smallest_p_value_is_reached_by_one_sign_for_all(n, floor):
    found = wilcoxon(np.arange(1.0, n + 1), unit="case")
    assert found.p_value == found.floor == floor
    assert ("Cannot be significant" in found.note) == (n == 5)


def test_infinite_distances_are_the_worst_and_agree_with_each_other():
    gaps = paired_differences(np.array([np.inf, np.inf, 3.0]), np.array([np.inf, 2.0, 4.0]))
    assert gaps.tolist() == [0, np.inf, -1]
    found = wilcoxon(gaps, unit="case")
    assert (found.details["w_plus"], found.details["w_minus"]) == (2, 1)
    both = wilcoxon(np.array([np.inf, -np.inf, 1.0]), unit="case")
    assert both.interval is None


def test_undefined_pairs_and_slices_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        paired_differences(np.array([np.nan]), np.array([1.0]))
    with pytest.raises(ValueError, match="NaN"):
        wilcoxon(np.array([np.nan]), unit="case")
    with pytest.raises(RefusedTest, match="slices of one volume"):
        wilcoxon(PLANTS, unit="slice")
    with pytest.raises(RefusedTest, match="at least 1"):
        wilcoxon(np.zeros(0), unit="case")


def test_the_interval_of_few_and_of_many_pairs():
    assert hodges_lehmann(np.array([0.1, 0.2, 0.3]))[1] is None
    gaps = np.random.default_rng(1).normal(0.5, 1, 250)
    estimate, interval = hodges_lehmann(gaps)
    assert interval is not None
    assert interval[0] < estimate < interval[1]
    assert interval == pytest.approx(hodges_lehmann(gaps[:200])[1], abs=0.08)
