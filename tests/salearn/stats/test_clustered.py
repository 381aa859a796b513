import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from salearn.stats.auc_replicates import auc_replicates
from salearn.stats.clustered import clustered_auc_table, clustered_auc_test
from salearn.stats.delong import auc_table
from salearn.stats.refuse import RefusedTest

SCORES = np.array([[7, 8, 5, 9, 3, 6, 2, 5, 1], [4, 9, 6, 3, 5, 2, 3, 7, 1.0]])
TRUTH = np.array([True] * 4 + [False] * 5)
CLUSTERS = np.array([1, 1, 2, 3, 1, 2, 2, 3, 3])


def test_the_small_case_in_exact_fractions():
    found = clustered_auc_table(SCORES, TRUTH, CLUSTERS)
    expected = np.array([[8769, -10167], [-10167, 19281]]) / 640_000
    assert found.covariance == pytest.approx(expected, abs=1e-15)
    s = found.covariance
    assert s[0, 0] + s[1, 1] - 2 * s[0, 1] == pytest.approx(189 / 2500)
    test = clustered_auc_test(SCORES[0], SCORES[1], TRUTH, CLUSTERS)
    assert test.statistic == pytest.approx(0.7273930, abs=1e-7)
    assert test.n_units == 3
    assert test.p_value == pytest.approx(2 * scipy.stats.t.sf(0.7273930, 2), abs=1e-7)


def test_clusters_of_one_are_delongs():
    found = clustered_auc_table(SCORES, TRUTH, np.arange(9))
    plain = auc_table(SCORES, TRUTH)
    assert found.auc == pytest.approx(plain.auc)
    assert found.covariance == pytest.approx(plain.covariance, abs=1e-15)


def test_clusters_can_be_resampled():
    found = clustered_auc_test(SCORES[0], SCORES[1], TRUTH, CLUSTERS, resample=True)
    assert "cluster bootstrap" in found.name
    assert "Fewer than 20 patients" in found.note


def test_a_resample_has_the_auc_of_its_repeated_units():
    replicates = auc_replicates(SCORES, TRUTH, CLUSTERS, replicates=40, seed=3)
    drawn = np.random.default_rng(3).multinomial(3, np.full(3, 1 / 3), size=40)
    for copies, areas in zip(drawn, replicates, strict=True):
        rows = np.concatenate(
            [np.repeat(np.flatnonzero(c + 1 == CLUSTERS), copies[c]) for c in range(3)]
        )
        expected = [roc_auc_score(TRUTH[rows], row[rows]) for row in SCORES]
        assert areas == pytest.approx(expected)


def test_a_resample_without_positives_is_undefined():
    alone = np.array([1, 1, 1, 2, 3, 3, 3, 4, 4])
    replicates = auc_replicates(SCORES, TRUTH, alone, replicates=60)
    assert np.isnan(replicates).any()
    found = clustered_auc_test(SCORES[0], SCORES[1], TRUTH, alone, resample=True)
    assert np.isfinite(found.interval).all()


def test_copies_of_pixels_change_no_clustered_variance_but_shrink_the_naive_one():
    rows = np.repeat(np.arange(9), 50)
    many = clustered_auc_table(SCORES[:, rows], TRUTH[rows], CLUSTERS[rows]).covariance
    once = clustered_auc_table(SCORES, TRUTH, CLUSTERS).covariance
    assert many == pytest.approx(once)
    naive = auc_table(SCORES[:, rows], TRUTH[rows]).covariance
    assert naive[0, 0] < auc_table(SCORES, TRUTH).covariance[0, 0] / 40


def test_pixels_as_clusters_or_a_single_cluster_are_refused():
    with pytest.raises(RefusedTest, match="pixels of one image"):
        clustered_auc_test(SCORES[0], SCORES[1], TRUTH, CLUSTERS, unit="pixel")
    with pytest.raises(RefusedTest, match="2 positive clusters"):
        clustered_auc_table(SCORES, TRUTH, np.array([1] * 4 + [2] * 5))
