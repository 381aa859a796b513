import math

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from salearn.metrics.calibration import reliability

P = np.array([0.1, 0.3, 0.8, 0.9])
Y = np.array([False, True, True, True])


def test_four_voxels_in_two_bins_by_hand():
    found = reliability(P, Y, bins=2)
    # below .5: mean .2, one of two; above: mean .85, two of two
    assert found.ece == pytest.approx(0.5 * abs(0.5 - 0.2) + 0.5 * abs(1 - 0.85))
    assert found.mce == pytest.approx(0.3)
    assert found.brier == pytest.approx((0.01 + 0.49 + 0.04 + 0.01) / 4)
    assert found.brier == pytest.approx(brier_score_loss(Y, P))


def test_adding_images_pools_their_voxels():
    rng = np.random.default_rng(0)
    p, y = rng.random((2, 30)), rng.random((2, 30)) < 0.4
    both = reliability(p[0], y[0]) + reliability(p[1], y[1])
    pooled = reliability(p, y)
    assert both.ece == pytest.approx(pooled.ece)
    assert both.brier == pytest.approx(pooled.brier)


def test_true_probabilities_have_little_error_and_certain_wrong_ones_all():
    rng = np.random.default_rng(0)
    p = rng.random(50_000)
    assert reliability(p, rng.random(50_000) < p).ece < 0.01
    assert reliability(np.ones(3), np.zeros(3, bool)).ece == 1


def test_no_voxels_and_no_probabilities():
    empty = reliability(np.zeros(0), np.zeros(0, bool))
    assert all(math.isnan(x) for x in (empty.ece, empty.brier, empty.mce))
    with pytest.raises(ValueError, match=r"0\.\.1"):
        reliability(np.array([-0.1]), np.array([True]))
