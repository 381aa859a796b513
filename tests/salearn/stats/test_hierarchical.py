import numpy as np
import pytest

from salearn.stats.bootstrap import Hierarchy
from salearn.stats.hierarchical import (
    compare_methods,
    curve_replicates,
    difference_replicates,
    gap,
    retention,
)
from salearn.stats.paired import compare_paired, patient_means
from salearn.stats.refuse import RefusedTest
from salearn.stats.resample import bootstrap_p, cluster_bootstrap

RNG = np.random.default_rng(0)
CASES = RNG.normal(0.8, 0.05, (1, 12, 1))
FIRST = CASES + RNG.normal(0.03, 0.01, (6, 12, 1))
SECOND = CASES + RNG.normal(0.0, 0.01, (6, 12, 1))
DRAWS = [0, 0, 1, 1, 2, 2]


def test_two_methods_are_compared_over_seeds_and_cases():
    found = compare_methods(FIRST, SECOND, DRAWS, unit="patient")
    assert found.name == "hierarchical bootstrap over draw seeds x train seeds x cases"
    assert found.estimate == pytest.approx((FIRST - SECOND).mean())
    assert found.interval is not None
    assert found.interval[0] < found.estimate < found.interval[1]
    assert found.p_value == found.floor == 2 / 2001
    assert "3 draw seeds" in found.note


def test_pairing_takes_the_cases_out():
    far = compare_methods(FIRST, SECOND[:, ::-1], DRAWS)
    near = compare_methods(FIRST, SECOND, DRAWS)
    width = [np.ptp(found.interval) for found in (near, far)]
    assert width[0] < 0.5 * width[1]


def test_one_run_or_few_cases_are_named():
    found = compare_methods(FIRST[:1, :5], SECOND[:1, :5], [0])
    assert "these two checkpoints" in found.note
    assert "Fewer than 8 cases" in found.note
    with pytest.raises(ValueError, match="equal shapes"):
        compare_methods(FIRST, SECOND[:2], DRAWS)
    with pytest.raises(RefusedTest, match="slices"):
        compare_methods(FIRST, SECOND, DRAWS, unit="slice")


def test_replicates_of_curves_share_their_resamples():
    first, second = np.stack([FIRST[..., 0]] * 2), np.stack([SECOND[..., 0]] * 2)
    drawn = difference_replicates(first, second, DRAWS, replicates=50)
    assert drawn[:, 0] == pytest.approx(drawn[:, 1])
    hierarchy = Hierarchy.make(DRAWS, 12, 50, 0)
    apart = curve_replicates(first, hierarchy) - curve_replicates(second, hierarchy)
    assert apart == pytest.approx(drawn)
    with pytest.raises(ValueError, match="equal shapes"):
        difference_replicates(first, second[:1], DRAWS)


def test_retention_is_a_ratio_with_a_paired_interval():
    full = FIRST[..., 0]
    found = retention(0.95 * full, full, DRAWS)
    assert (found.estimate, found.low, found.high) == pytest.approx((0.95, 0.95, 0.95))
    with pytest.raises(ValueError, match="equal shapes"):
        retention(full, full[:, :2], DRAWS)


def test_the_gap_to_another_data_set_resamples_its_cases_apart():
    inside, outside = FIRST[..., 0], FIRST[:, :9, 0] - 0.1
    found = gap(inside, outside, DRAWS)
    assert found.estimate == pytest.approx(inside.mean() - outside.mean())
    assert found.low < found.estimate < found.high
    # Twice the same cases: resampled apart, the gap of 0 still has a spread.
    same = gap(inside, inside, DRAWS)
    assert same.estimate == pytest.approx(0)
    assert same.high - same.low > 0.02
    with pytest.raises(ValueError, match="runs"):
        gap(inside, outside[:2], DRAWS)


def test_images_of_a_patient_are_averaged_first():
    values = np.array([[0.2, 0.4, 1.0, np.nan, np.inf], [1, 1, 2, 3, np.nan]])
    found = patient_means(values, ["a", "a", "b", "b", "c"])
    assert found[0] == pytest.approx([0.3, 1.0, np.inf])
    assert found[1] == pytest.approx([1, 2.5, np.nan], nan_ok=True)
    with pytest.raises(ValueError, match="2 patients for 5"):
        patient_means(values, ["a", "b"])


def test_the_default_comparison_of_per_case_scores():
    first, second = FIRST[0, :, 0].copy(), SECOND[0, :, 0]
    first[3] = np.nan
    found = compare_paired(first, second, unit="patient", replicates=500)
    gaps = np.delete(first - second, 3)
    assert found.n_units == 11
    assert found.estimate == pytest.approx(gaps.mean())
    assert "1 undefined patient pairs were left out" in found.note
    assert found.details["d_z"] == pytest.approx(gaps.mean() / gaps.std(ddof=1))


def test_infinite_distances_have_ranks_but_no_mean():
    found = compare_paired(np.array([1.0, np.inf, 3]), np.array([2.0, 3, 4]), unit="case")
    assert found.interval is None
    assert np.isnan(found.estimate)
    assert found.details["w_plus"] == 3
    assert "describes the sample only" in found.note


def test_the_bootstrap_p_is_never_zero_and_fits_the_interval():
    drawn = np.arange(1.0, 100)
    assert bootstrap_p(drawn) == 2 / 100
    assert bootstrap_p(drawn, 50) == 1
    assert bootstrap_p(drawn, alternative="greater") == 1 / 100
    assert bootstrap_p(drawn, 98.5, "less") == 2 / 100


def test_any_statistic_can_be_resampled_by_cluster():
    values = np.array([1.0, 2, 3, 10, 11, 12])
    interval, drawn = cluster_bootstrap(
        lambda rows: float(np.median(values[rows])), 6, np.array([0, 0, 0, 1, 1, 1]),
        method="bca", replicates=200,
    )  # fmt: skip
    assert set(drawn.tolist()) == {2, 6.5, 11}  # one cluster, both, the other
    assert interval.estimate == 6.5
    assert (interval.over, interval.descriptive) == ("clusters", True)
    alone = cluster_bootstrap(lambda rows: float(values[rows].mean()), 6, replicates=200)[0]
    assert alone.over == "units"
    with pytest.raises(ValueError, match="no units"):
        cluster_bootstrap(lambda rows: 0.0, 0)
