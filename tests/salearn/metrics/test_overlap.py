import math

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix

from salearn.cases import IGNORE
from salearn.metrics.overlap import Counts, class_counts, confusion


def labels(values):
    return np.array(values, dtype=np.uint8).reshape(-1, 1, 1)


def test_the_scores_of_one_class_by_hand():
    counts = Counts(tp=6, fp=2, fn=4, tn=8)
    assert counts.dice == 12 / 18
    assert counts.iou == 6 / 12
    assert counts.sensitivity == 6 / 10
    assert counts.specificity == 8 / 10
    assert counts.precision == 6 / 8
    assert counts.volume_error == (8 - 10) / 10
    assert counts.status == "ok"


def test_dice_is_the_mean_of_cases_and_f1_the_score_of_pooled_counts():
    first, second = Counts(tp=10, fp=0, fn=10, tn=0), Counts(tp=90, fp=10, fn=10, tn=0)
    assert (first.dice + second.dice) / 2 == pytest.approx(0.783333, abs=1e-6)
    assert (first.iou + second.iou) / 2 == pytest.approx(0.659091, abs=1e-6)
    assert (first + second).dice == pytest.approx(0.869565, abs=1e-6)


@pytest.mark.parametrize(
    ("counts", "status", "dice", "sensitivity", "precision", "volume_error"),
    [
        (Counts(tp=0, fp=0, fn=0, tn=9), "absent", math.nan, math.nan, math.nan, math.nan),
        (Counts(tp=0, fp=0, fn=5, tn=4), "missed", 0.0, 0.0, math.nan, -1.0),
        (Counts(tp=0, fp=5, fn=0, tn=4), "false", 0.0, math.nan, 0.0, math.nan),
    ],
)
def test_an_empty_mask_gives_nan_where_the_score_is_undefined(
    counts, status, dice, sensitivity, precision, volume_error
):
    assert counts.status == status
    got = [counts.dice, counts.sensitivity, counts.precision, counts.volume_error]
    np.testing.assert_equal(got, [dice, sensitivity, precision, volume_error])
    np.testing.assert_equal(counts.iou, counts.dice)


def test_confusion_agrees_with_scikit_learn():
    rng = np.random.default_rng(0)
    prediction, reference = rng.integers(0, 4, (2, 5, 6, 7), dtype=np.uint8)
    expected = confusion_matrix(reference.ravel(), prediction.ravel(), labels=range(4))
    np.testing.assert_array_equal(confusion(prediction, reference)[:4, :4], expected)


def test_ignored_voxels_count_nowhere():
    reference = labels([1, 1, 0, 0, IGNORE, IGNORE])
    prediction = labels([1, 0, 1, 0, 1, 0])
    counts = class_counts(confusion(prediction, reference), 1)
    assert counts == Counts(tp=1, fp=1, fn=1, tn=1)
