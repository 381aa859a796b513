import itertools
import math

import numpy as np
import pytest
import scipy.stats

from salearn.stats.bootstrap import (
    Hierarchy,
    bca_interval,
    bootstrap_mean,
    percentile_interval,
    percentile_intervals,
)

DICE = np.array([0.61, 0.72, 0.78, 0.83, 0.96])


def every_resample(values):
    return np.array(
        [np.mean(drawn) for drawn in itertools.product(values, repeat=len(values))]
    ).round(12)


def left_one_out(values, statistic=np.mean):
    return np.array([statistic(np.delete(values, k, axis=0)) for k in range(len(values))])


def test_percentile_interval_of_all_3125_resamples():
    means = every_resample(DICE)
    assert len(means) == 3125
    assert means.std() == pytest.approx(math.sqrt(((DICE - 0.78) ** 2).sum()) / 5)
    assert percentile_interval(means) == pytest.approx((0.678, 0.886), abs=1e-9)


def test_bca_interval_of_all_3125_resamples_with_ties_counted_half():
    means = every_resample(DICE)
    assert np.mean(means < 0.78) + np.mean(means == 0.78) / 2 == pytest.approx(0.5032)
    found = bca_interval(means, 0.78, left_one_out(DICE))
    assert found == pytest.approx((0.680, 0.886), abs=1e-9)


def test_paired_differences_of_four_cases_by_enumeration():
    means = every_resample([0.04, -0.01, 0.03, 0.02])
    assert percentile_interval(means) == pytest.approx((0.0, 0.035), abs=1e-9)
    assert np.mean(means <= 0) == 9 / 256


def test_law_school_data_give_the_published_intervals():
    lsat = [576, 635, 558, 578, 666, 580, 555, 661, 651, 605, 653, 575, 545, 572, 594]
    gpa = [3.39, 3.3, 2.81, 3.03, 3.44, 3.07, 3.0, 3.43, 3.36, 3.13, 3.12, 2.74, 2.76, 2.88, 2.96]
    data = np.column_stack([lsat, gpa])

    def correlation(rows):
        return np.corrcoef(rows.T)[0, 1]

    rng = np.random.default_rng(1)
    drawn = [correlation(data[rng.integers(0, 15, 15)]) for _ in range(8_000)]
    jackknife = left_one_out(data, correlation)
    assert correlation(data) == pytest.approx(0.776374, abs=1e-6)
    found = bca_interval(np.array(drawn), correlation(data), jackknife)
    assert found == pytest.approx((0.33, 0.94), abs=0.02)
    assert percentile_interval(np.array(drawn)) == pytest.approx((0.46, 0.96), abs=0.02)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_the_interval_of_a_mean_agrees_with_scipy(method):
    values = np.random.default_rng(0).gamma(2.0, size=30)
    ours = bootstrap_mean(values, method=method.lower(), replicates=20_000)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method=method, rng=np.random.default_rng(1)
    ).confidence_interval
    assert ours.method == method.lower()
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.02)
    assert ours.estimate == pytest.approx(values.mean())
    assert ours == bootstrap_mean(values, method=method.lower(), replicates=20_000)


def test_slices_of_one_patient_are_drawn_together():
    values = np.repeat(DICE, 50)
    patients = np.repeat(np.arange(5), 50)
    naive, fair = bootstrap_mean(values), bootstrap_mean(values, patients)
    alone = bootstrap_mean(DICE)
    assert (fair.low, fair.high) == pytest.approx((alone.low, alone.high))
    assert naive.high - naive.low < 0.2 * (fair.high - fair.low)
    assert fair.descriptive
    assert not naive.descriptive


def test_bca_falls_back_and_says_so_where_it_is_undefined():
    same = bootstrap_mean(np.full(10, 0.5), method="bca")
    assert (same.method, same.low, same.high) == ("percentile", 0.5, 0.5)


@pytest.mark.parametrize("values", [[], [0.5, math.nan], [0.5, math.inf]])
def test_undefined_values_are_refused(values):
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean(np.array(values))


def test_one_run_means_an_interval_over_cases_only():
    values = np.random.default_rng(0).random((1, 40, 1))
    found = Hierarchy.make([7], 40, replicates=20_000).interval(values)
    plain = bootstrap_mean(values[0, :, 0], replicates=20_000)
    assert found.over == "cases"
    assert found.estimate == pytest.approx(plain.estimate)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=0.006)


def test_two_draw_seeds_with_equal_cases_by_hand():
    values = np.zeros((2, 10, 1))
    values[1] = 1.0  # a replicate is 0, 1/2 or 1 with chances 1/4, 1/2, 1/4
    tree = Hierarchy.make([0, 1], 10, replicates=20_000)
    found, counts = np.unique(tree.replicates(values).round(9), return_counts=True)
    assert found.tolist() == [0, 0.5, 1]
    assert counts / 20_000 == pytest.approx([0.25, 0.5, 0.25], abs=0.012)
    assert tree.over == "draw seeds x cases"
    assert tree.estimate(values) == 0.5


def test_draw_seeds_weigh_the_same_however_many_train_seeds_they_have():
    values = np.array([0.0, 1.0, 1.0, 1.0]).reshape(4, 1, 1).repeat(8, axis=1)
    tree = Hierarchy.make([0, 1, 1, 1], 8)
    assert tree.estimate(values) == pytest.approx(0.5)
    np.testing.assert_allclose(tree.run_weights.sum(axis=1), 1)
    assert tree.run_weights.mean(axis=0) == pytest.approx([0.5, 1 / 6, 1 / 6, 1 / 6], abs=0.03)
    assert tree.over == "draw seeds x train seeds x cases"


def test_replicates_spread_like_a_plain_loop_over_seeds_and_cases():
    rng = np.random.default_rng(5)
    draws = [0, 0, 1, 1, 2, 2]
    values = rng.random((6, 12, 1)) + np.repeat(rng.random(3), 2)[:, None, None]
    slow = []
    for _ in range(3_000):
        cases = rng.integers(0, 12, 12)
        per_draw = []
        for draw in rng.integers(0, 3, 3):
            runs = 2 * draw + rng.integers(0, 2, 2)
            per_draw.append(np.mean([values[run, cases, 0].mean() for run in runs]))
        slow.append(np.mean(per_draw))
    fast = Hierarchy.make(draws, 12, replicates=20_000).replicates(values)
    assert fast.mean() == pytest.approx(np.mean(slow), abs=0.02)
    assert fast.std() == pytest.approx(np.std(slow), rel=0.06)


def test_undefined_cases_are_left_out_of_the_mean_over_cases():
    values = np.array([[[0.2, 0.4], [0.6, math.nan]]])
    tree = Hierarchy.make([0], 2, replicates=400)
    assert tree.estimate(values) == pytest.approx((0.4 + 0.4) / 2)
    # cases drawn (1,1): (.2 + .4)/2; (1,2): (.4 + .4)/2; (2,2): class 2 undefined, .6
    assert set(tree.replicates(values).round(9)) == {0.3, 0.4, 0.6}


def test_an_infinite_distance_makes_the_mean_infinite_where_it_is_drawn():
    values = np.array([1.0, math.inf, *[1.0] * 8]).reshape(1, 10, 1)
    found = Hierarchy.make([0], 10).interval(values)
    assert (found.estimate, found.low, found.high) == (math.inf, 1.0, math.inf)
    assert math.isnan(Hierarchy.make([0], 3).interval(np.full((1, 3, 1), math.nan)).low)


def test_paired_differences_share_seeds_and_cases():
    rng = np.random.default_rng(2)
    hard = rng.random((1, 30, 1))
    arm, base = hard + 0.03 + 0.001 * rng.random((4, 30, 1)), hard.repeat(4, axis=0)
    tree = Hierarchy.make([0, 0, 1, 1], 30)
    np.testing.assert_allclose(
        tree.replicates(arm - base), tree.replicates(arm) - tree.replicates(base), atol=1e-12
    )
    paired, alone = tree.interval(arm - base), tree.interval(arm)
    assert paired.low > 0
    assert alone.high - alone.low > 50 * (paired.high - paired.low)


def test_the_same_seed_gives_the_same_replicates_and_another_seed_others():
    values = np.random.default_rng(0).random((2, 9, 2))
    first, again, other = (Hierarchy.make([0, 1], 9, 50, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.replicates(values), again.replicates(values))
    assert (first.replicates(values) != other.replicates(values)).any()


def test_nothing_to_resample_is_refused():
    with pytest.raises(ValueError, match="0 runs"):
        Hierarchy.make([], 5)


@pytest.mark.parametrize("count", [1, 2, 99, 2000])
def test_intervals_of_many_columns_are_numpys_quantiles_to_the_last_bit(count):
    drawn = np.round(np.random.default_rng(0).normal(size=(count, 20)), 4)  # with ties
    want = np.quantile(drawn, [(1 - 0.9) / 2, (1 + 0.9) / 2], axis=0)
    np.testing.assert_array_equal(np.stack(percentile_intervals(drawn, 0.9)), want)
