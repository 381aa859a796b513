import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from salearn.metrics.auc import (
    StreamingAuc,
    auc,
    average_precision,
    image_auc,
    pixel_macro,
    pixel_micro,
    top_mean,
)

TRUTH = np.array([0, 0, 1, 1, 0, 1], bool)
SCORES = np.array([0.1, 0.4, 0.35, 0.8, 0.4, 0.4])


def test_six_pixels_by_hand():
    # .35 beats .1; .8 beats all three; .4 beats .1 and ties twice: (1 + 3 + 2) / 9
    assert auc(SCORES, TRUTH) == pytest.approx(2 / 3)
    assert average_precision(np.array([0.9, 0.8, 0.1]), np.array([True, False, True])) == (
        pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 3)
    )


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_the_area_is_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth = np.concatenate([[True, False], rng.random(20) < 0.3])
    scores = rng.integers(0, 6, 22) / 5
    assert auc(scores, truth) == pytest.approx(roc_auc_score(truth, scores))


def test_one_kind_of_pixels_has_no_area():
    assert math.isnan(auc(SCORES, np.ones(6, bool)))
    assert math.isnan(average_precision(SCORES, np.zeros(6, bool)))
    with pytest.raises(ValueError, match="NaN"):
        auc(np.array([np.nan]), np.array([True]))


def test_pooled_pixels_and_the_mean_over_images_are_different_numbers():
    # Each image orders its own pixels perfectly, but the second one is brighter all over.
    first = np.array([0.1, 0.2]), np.array([False, True])
    second = np.array([0.6, 0.7]), np.array([False, True])
    empty = np.array([[0.3, 0.9]]), np.array([[False, False]])
    macro = pixel_macro([first, second, empty])
    assert (macro.auc, macro.n_used, macro.n_total) == (1, 2, 3)
    micro = pixel_micro([first, second])
    assert (micro.auc, micro.level) == (pytest.approx(3 / 4), "pixel_micro")
    assert pixel_micro([first, second, empty]).auc < 3 / 4
    assert math.isnan(pixel_macro([empty]).auc)


def test_presence_needs_images_of_both_kinds():
    found = image_auc(np.array([0.9, 0.2, 0.4]), np.array([True, False, True]))
    assert (found.auc, found.level) == (1, "image")
    with pytest.raises(ValueError, match="an image without the structure"):
        image_auc(np.ones(3), np.ones(3, bool))
    with pytest.raises(ValueError, match="an image with the structure"):
        image_auc(np.ones(3), np.zeros(3, bool))


def test_the_mean_of_the_brightest_pixels():
    scores = np.arange(2000.0).reshape(20, 100) / 2000
    assert top_mean(scores) == pytest.approx((1999 + 1998) / 2 / 2000)
    assert top_mean(np.array([0.2, 0.7])) == 0.7


@pytest.mark.parametrize(("bins", "bound"), [(64, 5e-3), (1024, 3e-4)])
def test_streaming_stays_within_its_own_bound(bins, bound):
    rng = np.random.default_rng(0)
    truth = rng.random(200_000) < 0.1
    scores = 1 / (1 + np.exp(-rng.normal(2.0 * truth - 1, 1.2)))
    streamed = StreamingAuc(bins)
    for part in np.array_split(np.arange(200_000), 7):
        streamed.update(scores[part], truth[part])
    error = abs(streamed.value - auc(scores, truth))
    assert error <= streamed.bound <= bound
    assert error < streamed.bound / 10


def test_streaming_at_the_edges():
    streamed = StreamingAuc(4)
    assert math.isnan(streamed.value)
    streamed.update(np.array([0.0, 1.0]), np.array([False, True]))
    assert (streamed.value, streamed.bound) == (1, 0)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        streamed.update(np.array([1.2]), np.array([True]))


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="shape"):
        pixel_micro([(np.ones((2, 2)), np.ones(4, bool))])
    with pytest.raises(ValueError, match="no images"):
        pixel_micro([])
