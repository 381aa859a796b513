import numpy as np
import pytest
import scipy.stats

from salearn.stats.ranks import (
    block_ranks,
    critical_difference,
    friedman,
    post_hoc,
    rank_agreement,
)
from salearn.stats.refuse import RefusedTest

# Demsar (2006), table 6: AUC of C4.5 with four pruning settings on 14 data sets.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798],
        [0.599, 0.591, 0.590, 0.569],
        [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657],
        [0.882, 0.888, 0.886, 0.898],
        [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685],
        [0.583, 0.583, 0.563, 0.625],
        [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000],
        [0.940, 0.962, 0.965, 0.962],
        [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975],
        [0.957, 0.978, 0.946, 0.970],
    ]
)
NAMES = ("plain", "m", "cf", "both")


def test_the_mean_ranks_and_tests_of_demsars_example():
    found = friedman(DEMSAR, unit="data set")
    ranks = [found.details[f"mean_rank_{k}"] for k in range(4)]
    assert ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=1e-3)
    # The paper's 9.28 (F 3.69) is without the correction for ties; scipy makes it.
    squares = 12 * 14 / 20 * (sum(r**2 for r in ranks) - 4 * 25 / 4)
    assert squares == pytest.approx(9.28, abs=0.01)
    assert found.statistic == pytest.approx(scipy.stats.friedmanchisquare(*DEMSAR.T).statistic)
    assert found.details["iman_davenport_p"] < found.p_value


def test_nemenyis_critical_difference_of_demsars_example():
    assert critical_difference(4, 14, 0.05) == pytest.approx(2.569 * np.sqrt(20 / 84), abs=1e-3)
    assert critical_difference(4, 14, 0.10) == pytest.approx(2.291 * np.sqrt(20 / 84), abs=1e-3)


def test_nemenyi_calls_significant_what_exceeds_the_critical_difference():
    limit = critical_difference(4, 14, 0.10)
    for result in post_hoc(DEMSAR, NAMES, unit="data set", method="nemenyi").values():
        assert (abs(result.estimate) > limit) == (result.p_value < 0.10)


def test_conover_and_nemenyi_as_scikit_posthocs_0_17_prints_them():
    limits = {
        "nemenyi": [0.088673, 0.956177, 0.074185, 0.259228, 0.999859, 0.226697],
        "conover": [0.032643, 0.933319, 0.025552, 0.144029, 0.999779, 0.119473],
    }
    for method, expected in limits.items():
        found = post_hoc(DEMSAR, NAMES, unit="data set", method=method).values()
        q = np.array([result.statistic for result in found]) * np.sqrt(2)
        # It takes infinite degrees of freedom for both; ours for Conover are finite.
        assert scipy.stats.studentized_range.sf(q, 4, np.inf) == pytest.approx(expected, abs=1e-6)


def test_the_default_after_friedman_is_wilcoxon_with_holm():
    found = post_hoc(DEMSAR, NAMES, unit="data set")
    one = found["plain", "both"]
    gaps = DEMSAR[:, 0] - DEMSAR[:, 3]
    signs = 1 - 2 * (np.arange(2**14)[:, None] >> np.arange(14) & 1)
    ranks = scipy.stats.rankdata(np.abs(gaps[gaps != 0]))
    sums = np.abs(signs[:, gaps != 0] @ ranks)
    extreme = abs(np.sign(gaps[gaps != 0]) @ ranks)
    assert one.details["p_unadjusted"] == pytest.approx(np.mean(sums >= extreme))
    assert one.p_value >= one.details["p_unadjusted"]
    assert len(found) == 6


def test_distances_rank_the_other_way():
    ranks = block_ranks(np.array([[1.0, np.inf, 2.0]]), higher_is_better=False)
    assert ranks.tolist() == [[1, 3, 2]]


def test_full_agreement_and_full_ties():
    agree = np.tile([1.0, 2, 3], (6, 1))
    assert friedman(agree, unit="case").details["kendall_w"] == pytest.approx(1)
    assert friedman(np.ones((6, 3)), unit="case").p_value == 1
    for method in ("nemenyi", "conover"):
        ties = post_hoc(np.ones((6, 3)), "abc", unit="case", method=method)
        assert all(result.p_value == 1 for result in ties.values())
    sure = post_hoc(agree, "abc", unit="case", method="conover")
    assert sure["a", "c"].p_value == 0


def test_what_cannot_be_ranked():
    with pytest.raises(RefusedTest, match="3 arms"):
        friedman(np.ones((5, 2)), unit="case")
    with pytest.raises(RefusedTest, match="patches"):
        friedman(DEMSAR, unit="patch")
    with pytest.raises(ValueError, match="incomplete"):
        friedman(np.full((5, 3), np.nan), unit="case")
    with pytest.raises(ValueError, match="names"):
        post_hoc(DEMSAR, "ab", unit="case")
    assert "Cannot be significant" in friedman(np.ones((2, 3)), unit="case").note


def test_one_swap_of_four_arms_is_tau_two_thirds_and_never_significant():
    order = np.array([1.0, 2, 3, 4])
    swapped = np.array([1.0, 2, 4, 3])
    found = rank_agreement(order, swapped, np.tile(order, (9, 1)), np.tile(swapped, (9, 1)))
    assert found.statistic == pytest.approx(2 / 3)
    assert "Cannot be significant" in found.note
    assert rank_agreement(order, order, order[None], order[None]).p_value == pytest.approx(2 / 24)
