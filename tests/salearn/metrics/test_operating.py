import numpy as np
import pytest

from salearn.metrics.auc import pixel_micro
from salearn.metrics.operating import best_threshold, decompose, dice_curve, operating_points
from salearn.metrics.overlap import Counts


def images(seed, shift=0.0):
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(6):
        truth = np.arange(400) < rng.integers(20, 120)
        logits = rng.normal(4.0 * truth - 2 + shift, 1)
        made.append((1 / (1 + np.exp(-logits)), truth))
    return made


def test_macro_and_micro_scores_of_two_images():
    first = Counts(tp=10, fp=0, fn=10, tn=0)
    second = Counts(tp=90, fp=10, fn=10, tn=0)
    assert (first.dice + second.dice) / 2 == pytest.approx(0.783333, abs=1e-6)
    assert (first + second).dice == pytest.approx(0.869565, abs=1e-6)
    assert (first.iou + second.iou) / 2 == pytest.approx(0.659091, abs=1e-6)


def test_dice_and_area_at_a_threshold_by_hand():
    scores, truth = np.array([0.2, 0.5, 0.7, 0.9]), np.array([False, True, False, True])
    dice, area = dice_curve([(scores, truth)], np.array([0.1, 0.5, 0.8]))
    # above .1: 4 pixels, 2 right; above .5 (not at it): 2, 1 right; above .8: 1, right
    assert dice[0] == pytest.approx([4 / 6, 2 / 4, 2 / 3])
    assert area[0] == pytest.approx([2, 1, 0.5])


def test_a_shift_of_the_logits_is_all_calibration():
    inside, outside = images(0), images(0, shift=2.0)
    assert pixel_micro(outside).auc == pytest.approx(pixel_micro(inside).auc)
    threshold = best_threshold(inside)
    here, there = operating_points(inside, threshold), operating_points(outside, threshold)
    assert here.calibration_gap == pytest.approx(0)
    assert there.calibration_gap > 0.1
    assert there.area_bias > 0.3
    found = decompose(here, there)
    assert found.drop == pytest.approx(found.ranking + found.calibration)
    assert abs(found.ranking) < 0.02
    assert found.calibration > 0.1


def test_a_threshold_off_the_grid_and_images_without_reference():
    empty = np.array([0.2, 0.9]), np.array([False, False])
    found = operating_points([*images(1), empty], 0.333)
    assert found.n_used == 6
    assert found.threshold_val == 0.333
    assert found.dice_best >= max(found.dice_val, found.dice_half)
    with pytest.raises(ValueError, match="no image has a reference"):
        best_threshold([empty])
