import numpy as np
import pytest

from salearn.cases import IGNORE
from salearn.hard_negatives_boundary import contrast_of
from salearn.hard_negatives_report import (
    banded_dice,
    contrast_bands,
    false_positive_ml,
    slice_presence,
    tertiles,
)
from salearn.metrics.auc import auc


def test_false_positives_are_millilitres_of_known_voxels() -> None:
    mask = np.array([0, 1, 2, IGNORE], np.uint8).reshape(4, 1, 1)
    found = np.ones((4, 1, 1), bool)
    # background and the other class: 2 voxels of 4 x 5 x 6 mm = 240 mm^3
    assert false_positive_ml(found, mask, 1, (4, 5, 6)) == pytest.approx(0.24)


def test_slices_are_scored_by_their_highest_probabilities() -> None:
    p, mask = np.zeros((2, 5, 3)), np.zeros((2, 5, 3), np.uint8)
    p[0, 0] = 0.9, 0.2, 0.5
    mask[1, 1, 0] = 1
    scores, there = slice_presence(p, mask, 1, axis=2)
    assert scores == pytest.approx([0.9, 0.2, 0.5])
    assert there.tolist() == [True, False, False]
    assert auc(scores, there) == 1.0


def test_dice_is_split_by_the_contrast_of_the_nearest_boundary() -> None:
    # A bar through three zones of rising contrast.
    mask = np.zeros((12, 9, 1), np.uint8)
    mask[:, 3:6] = 1
    image = np.zeros(mask.shape)
    for zone, step in enumerate((0.1, 0.5, 2.0)):
        image[4 * zone : 4 * zone + 4, 3:6] = step
    noise = np.random.default_rng(0).normal(0, 0.05, mask.shape)
    _, contrast = contrast_of(image + noise, mask, 1, (1, 1, 1), 1.5)
    order = np.sort(contrast)
    low, high = tertiles([contrast[::2], contrast[1::2]])
    assert order[len(order) // 3 - 1] <= low <= order[len(order) // 3]
    bands = contrast_bands(image + noise, mask, 1, (1, 1, 1), (low, high), 1.0, 1.5)
    assert (bands[:, 0] == 0).all()  # 3 mm off
    assert (bands[:, 2:7] > 0).all()
    found = mask == 1
    assert banded_dice(found, mask, 1, bands) == (1.0, 1.0, 1.0)
    found[bands == 1] = False
    low_dice, middle, high_dice = banded_dice(found, mask, 1, bands)
    assert (low_dice, middle, high_dice) == (0.0, 1.0, 1.0)
    nothing = np.zeros(mask.shape, np.uint8)
    assert np.isnan(banded_dice(found & False, nothing, 1, nothing)[0])
