import math

import numpy as np
import pytest

from salearn.stats.effects import (
    _biserial,
    _dz,
    cliff_delta,
    cohen_dz,
    cohen_g,
    hedges_correction,
    hedges_g,
    hedges_gz,
    paired_effects,
    rank_biserial,
)

GAPS = np.array([1.0, 2, 3, -1])


def test_paired_effects_by_hand():
    # mean 1.25, squares .0625 + .5625 + 3.0625 + 5.0625 = 8.75, SD sqrt(8.75/3)
    assert cohen_dz(GAPS) == pytest.approx(1.25 / math.sqrt(8.75 / 3))
    # ranks 1.5, 3, 4 up and 1.5 down
    assert rank_biserial(GAPS) == pytest.approx((8.5 - 1.5) / 10)
    assert rank_biserial(np.zeros(3)) == 0
    assert math.isnan(cohen_dz(np.ones(3)))
    assert math.isnan(cohen_dz(np.ones(1)))


def test_hedges_correction_is_near_its_usual_approximation():
    for df in (3, 10, 50):
        assert hedges_correction(df) == pytest.approx(1 - 3 / (4 * df - 1), abs=0.005)
    assert hedges_gz(GAPS) == pytest.approx(hedges_correction(3) * cohen_dz(GAPS))
    with pytest.raises(ValueError, match="2 degrees"):
        hedges_correction(1)


def test_independent_effects_by_hand():
    first, second = np.array([1.0, 3]), np.array([0.0, 1, 2])
    # pooled variance (2 + 2) / 3, difference 1
    expected = hedges_correction(3) / math.sqrt(4 / 3)
    assert hedges_g(first, second) == pytest.approx(expected)
    # wins: 1 > 0, 3 > 0 1 2; losses: 1 < 2
    assert cliff_delta(first, second) == pytest.approx((4 - 1) / 6)
    assert math.isnan(hedges_g(np.ones(2), np.zeros(2)))


def test_discordant_pairs():
    assert cohen_g(3, 1) == 0.25
    assert math.isnan(cohen_g(0, 0))


def test_every_effect_comes_with_an_interval():
    found = paired_effects(np.random.default_rng(0).normal(1, 1, 30), replicates=300)
    assert set(found) == {"mean difference", "Hodges-Lehmann", "d_z", "rank-biserial"}
    assert all(one.low < one.estimate < one.high for one in found.values())


def test_resampled_effects_are_those_of_each_resample():
    gaps = np.array([0.0, 0, 1, -2, 3, 3])
    drawn = gaps[np.random.default_rng(0).integers(0, 6, size=(50, 6))]
    assert _biserial(drawn) == pytest.approx([rank_biserial(row) for row in drawn])
    assert _dz(drawn) == pytest.approx([cohen_dz(row) for row in drawn], nan_ok=True)
    found = paired_effects(np.array([0.5]), replicates=10)
    assert math.isnan(found["d_z"].estimate)
    assert math.isnan(found["Hodges-Lehmann"].low)
