import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from salearn.stats.delong import (
    AucTable,
    auc_table,
    delong_paired,
    delong_unpaired,
    difference,
)
from salearn.stats.refuse import RefusedTest

POSITIVES = np.array([[7, 8, 5, 9], [4, 9, 6, 3.0]])
NEGATIVES = np.array([[3, 6, 2, 5, 1], [5, 2, 3, 7, 1.0]])
SCORES = np.concatenate([POSITIVES, NEGATIVES], axis=1)
TRUTH = np.array([True] * 4 + [False] * 5)

# aSAH (113 patients: 41 poor, 72 good outcome): AUC, variance and 95 % interval of three markers.
ASAH = {
    "wfns": (0.8236788617886, 0.00146991470882363, (0.7485348878, 0.8988228358)),
    "s100b": (0.7313685636856, 0.00266868245717244, (0.6301182118, 0.8326189156)),
    "ndka": (0.6119579945799, 0.0031908105493913, (0.5012449993, 0.7226709899)),
}
PAIRS = [
    (
        ("wfns", "s100b", 0.00119615567376754),
        (2.20898359144091, 0.0271757822291882, (0.0104061770, 0.1742144192)),
        (1.43490640926908, 0.152825378808796),
    ),
    (
        ("wfns", "ndka", -0.000532967856762438),
        (2.79777591868904, 0.00514557970691098, (0.0634011709, 0.3600405635)),
        (3.10125096778969, 0.00220950791756457),
    ),
    (
        ("ndka", "s100b", -0.000756164938056579),
        (-1.39077002573558, 0.164295175223054, (-0.2876917446, 0.0488706064)),
        (-1.55995743389685, 0.120192832430845),
    ),
]


def table(*names, covariance=0.0):
    auc = np.array([ASAH[name][0] for name in names])
    matrix = np.full((len(names), len(names)), covariance)
    np.fill_diagonal(matrix, [ASAH[name][1] for name in names])
    return AucTable(auc=auc, covariance=matrix, positives=41, negatives=72)


def test_the_asah_contingency_example_to_ten_digits():
    # Grades 1-5 of the wfns scale: how many patients of good and of poor outcome have each.
    grades = np.repeat(np.arange(1.0, 6), [37, 20, 3, 8, 4])
    poor = np.repeat(np.arange(1.0, 6), [2, 12, 1, 8, 18])
    scores = np.concatenate([poor, grades])[None]
    found = auc_table(scores, np.arange(113) < 41)
    assert (found.positives, found.negatives) == (41, 72)
    assert found.auc[0] == pytest.approx(1621 / 1968, abs=1e-12)
    assert found.auc[0] == pytest.approx(0.8236788617886, abs=1e-10)
    assert found.covariance[0, 0] == pytest.approx(0.00146991470882363, abs=1e-15)
    assert found.interval(0) == pytest.approx((0.7485348878, 0.8988228358), abs=1e-10)
    low, high = found.interval(0, scale="logit")
    assert 0.7485348878 > low > 0.73
    assert 0.8988228358 > high > 0.88


@pytest.mark.parametrize(("pair", "paired", "unpaired"), PAIRS)
def test_the_published_asah_comparisons_from_their_variances(pair, paired, unpaired):
    first, second, covariance = pair
    gap, z, p, interval = difference(table(first, second, covariance=covariance))
    assert gap == pytest.approx(ASAH[first][0] - ASAH[second][0])
    assert z == pytest.approx(paired[0], abs=1e-10)
    assert p == pytest.approx(paired[1], abs=1e-11)
    assert interval == pytest.approx(paired[2], abs=1e-9)
    apart = delong_unpaired(table(first), table(second), unit="patient")
    assert apart.statistic == pytest.approx(unpaired[0], abs=1e-10)
    assert apart.p_value == pytest.approx(unpaired[1], abs=1e-11)


def test_the_one_sided_comparison():
    _, _, p, _ = difference(table("wfns", "s100b", covariance=0.00119615567376754), "greater")
    assert p == pytest.approx(0.0135878911145941, abs=1e-11)


@pytest.mark.parametrize("marker", ASAH)
def test_the_published_asah_intervals(marker):
    assert table(marker).interval(0) == pytest.approx(ASAH[marker][2], abs=1e-9)


def test_the_small_case_in_exact_fractions():
    found = auc_table(SCORES, TRUTH)
    assert found.auc == pytest.approx([37 / 40, 29 / 40])
    expected = [[13 / 1600, -3 / 1280], [-3 / 1280, 167 / 4800]]
    assert found.covariance == pytest.approx(np.array(expected))
    test = delong_paired(SCORES[0], SCORES[1], TRUTH, unit="case")
    assert test.statistic == pytest.approx(0.9166583781, abs=1e-10)
    assert test.p_value == pytest.approx(0.3593216830, abs=1e-10)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_the_two_sample_jackknife_gives_the_same_covariance(seed):
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 9, (2, 17)).astype(float), np.arange(17) < 8
    sides = []
    for side in (np.flatnonzero(truth), np.flatnonzero(~truth)):
        left = [np.delete(np.arange(17), k) for k in side]
        areas = np.array([[roc_auc_score(truth[r], row[r]) for row in scores] for r in left])
        sides.append(np.cov(areas.T) * (len(side) - 1) ** 2 / len(side))
    assert auc_table(scores, truth).covariance == pytest.approx(sides[0] + sides[1])


def test_arms_of_no_variance():
    same = delong_paired(SCORES[0], SCORES[0], TRUTH, unit="case")
    assert (same.statistic, same.p_value) == (0, 1)
    perfect, blind = TRUTH.astype(float), np.zeros(9)
    found = delong_paired(perfect, blind, TRUTH, unit="case")
    assert math.isinf(found.statistic)
    assert "bootstrap" in found.name
    assert found.p_value < 0.01
    with pytest.raises(RefusedTest, match="perfect separation"):
        sure = auc_table(perfect[None], TRUTH)
        delong_unpaired(sure, sure, unit="case")
    assert auc_table(perfect[None], TRUTH).interval(0, scale="logit") == (1, 1)


def test_pixels_and_too_few_subjects_are_refused():
    with pytest.raises(RefusedTest, match="clustered_auc_test"):
        delong_paired(SCORES[0], SCORES[1], TRUTH, unit="pixel")
    with pytest.raises(RefusedTest, match="voxels of one image"):
        delong_unpaired(table("wfns"), table("ndka"), unit="voxel")
    with pytest.raises(RefusedTest, match="2 positives"):
        auc_table(SCORES, np.arange(9) < 1)
    with pytest.raises(ValueError, match="NaN"):
        auc_table(np.full((1, 9), np.nan), TRUTH)
