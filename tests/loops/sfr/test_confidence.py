"""Confidence, calibration, held-out folds, reliability: numbers by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loops.sfr.confidence import (
    NEVER,
    PseudoSettings,
    between_views,
    by_class,
    calibrated,
    confidence,
    mean_dice,
    select_reliable,
)
from loops.sfr.holdout import make_folds
from loops.sfr.selective import (
    SelectiveSettings,
    class_thresholds,
    distances,
    furthest_of,
    reliable,
    sizes_fit,
    sure_voxels,
)
from salearn.cases import IGNORE, CaseId
from salearn.errors import ConfigError
from salearn.settings import parse

A, B, C, D = (CaseId(name) for name in "abcd")
# Four voxels, three classes: background 0.9, class 1 at 0.6 and 0.8, class 2 at 0.5.
FOUR = np.array(
    [[0.9, 0.2, 0.1, 0.3], [0.1, 0.6, 0.8, 0.2], [0.0, 0.2, 0.1, 0.5]], dtype=np.float32
).reshape(3, 4, 1, 1)


def test_confidence_per_class_by_hand() -> None:
    assert by_class(FOUR) == pytest.approx([(0.6 + 0.8) / 2, 0.5])
    assert confidence(FOUR, "class") == pytest.approx(0.5)  # the lowest class
    assert confidence(FOUR, "foreground") == pytest.approx((0.6 + 0.8 + 0.5) / 3)
    lost = FOUR.copy()
    lost[2] = 0
    assert confidence(lost, "class") == 0  # class 2 is predicted nowhere


def test_mean_dice_over_classes_that_are_there() -> None:
    labels = np.array([0, 1, 1, 2], np.uint8).reshape(4, 1, 1)
    other = np.array([0, 1, 2, 2], np.uint8).reshape(4, 1, 1)
    # class 1: 2*1/(2+1); class 2: 2*1/(1+2); class 3 in neither
    assert mean_dice(labels, other, 4) == pytest.approx((2 / 3 + 2 / 3) / 2)
    known = np.array([0, 1, IGNORE, 2], np.uint8).reshape(4, 1, 1)
    assert mean_dice(labels, known, 4) == 1  # the voxel they differ in is not known
    empty = np.zeros((4, 1, 1), np.uint8)
    assert mean_dice(empty, empty, 3) == 1
    assert mean_dice(labels, empty, 3) == 0


def test_agreement_between_views_is_the_mean_over_pairs() -> None:
    flipped = FOUR.copy()
    flipped[:, 3] = flipped[[0, 2, 1], 3]  # the last voxel is now class 1
    # FOUR: 0 1 1 2, flipped: 0 1 1 1. class 1: 2*2/(2+3) = 0.8; class 2: 0.
    assert between_views([FOUR, flipped]) == pytest.approx(0.4)
    assert between_views([FOUR, FOUR, flipped]) == pytest.approx((1 + 0.4 + 0.4) / 3)


def test_a_threshold_is_calibrated_on_held_out_cases() -> None:
    pairs = [(0.6, 0.4), (0.7, 0.9), (0.8, 0.7), (0.9, 0.9)]
    # from 0.6 on: mean 0.725; from 0.7 on: 0.8333; from 0.9 on: 0.9
    assert calibrated(pairs, 0.72) == 0.6
    assert calibrated(pairs, 0.8) == 0.7
    assert calibrated(pairs, 0.85) == 0.9
    assert calibrated(pairs, 0.95) == NEVER


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=8),
       st.floats(0, 1))  # fmt: skip
def test_what_a_calibrated_threshold_keeps_reaches_the_target(
    pairs: list[tuple[float, float]], target: float
) -> None:
    threshold = calibrated(pairs, target)
    kept = [dice for value, dice in pairs if value >= threshold]
    assert not kept or np.mean(kept) >= target


def test_calibrated_needs_its_threshold() -> None:
    with pytest.raises(ValueError, match="calibrated"):
        select_reliable([], PseudoSettings(keep="calibrated"))


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        (PseudoSettings, {"threshold": 1.2}, "threshold"),
        (PseudoSettings, {"quantile": 0.0}, "quantile"),
        (PseudoSettings, {"views": 1}, "views"),
        (PseudoSettings, {"source": "online", "keep": "threshold"}, "online"),
        (SelectiveSettings, {"share": [0.0, 0.5]}, "share"),
        (SelectiveSettings, {"floor": 0.9, "cap": 0.5}, "floor"),
        (SelectiveSettings, {"size": [2.0, 0.5]}, "size"),
    ],
)
def test_impossible_settings_are_refused(section: type, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(section, values, "t")


# --- selective ----------------------------------------------------------------------------

CONFIDENCE = {A: 0.9, B: 0.8, C: 0.7, D: 0.6}
DISTANCE = {A: 0.4, B: 0.1, C: 0.2, D: 0.3}


def admitted(mode: str, share: float = 0.5, furthest: float = np.inf, **other: object) -> list[str]:
    how = parse(SelectiveSettings, {"mode": mode, **other}, "t")
    return sorted(reliable(CONFIDENCE, DISTANCE, how, share, furthest).cases)


def test_modes_of_reliability() -> None:
    assert admitted("off") == []
    assert admitted("all") == ["a", "b", "c", "d"]
    assert admitted("confidence") == ["a", "b"]
    assert admitted("distance") == ["b", "c"]
    assert admitted("both") == ["b"]
    assert admitted("distance", share=1.0, furthest=0.25) == ["b", "c"]


def test_weights_fall_with_distance() -> None:
    how = SelectiveSettings(mode="distance", weighted=True)
    weights = reliable(CONFIDENCE, DISTANCE, how, 0.5).weights
    # D = median of the distances = 0.25
    assert weights[B] == pytest.approx(0.8 * np.exp(-0.1 / 0.25))
    assert weights[C] == pytest.approx(0.7 * np.exp(-0.2 / 0.25))


def test_the_share_rises_over_turns() -> None:
    how = SelectiveSettings(share=(0.1, 0.5))
    assert [how.share_at(k, 3) for k in range(3)] == pytest.approx([0.1, 0.3, 0.5])
    assert how.share_at(0, 1) == 0.5


def test_distances_and_the_reach_of_labeled_cases() -> None:
    labeled = np.array([[1, 0], [0.6, 0.8]], dtype=np.float32)
    rows = np.array([[0, 1], [1, 0]], dtype=np.float32)
    np.testing.assert_allclose(distances(rows, labeled), [1 - 0.8, 0], atol=1e-6)
    assert furthest_of(labeled, 1.5) == pytest.approx(1.5 * (1 - 0.6), abs=1e-6)
    assert furthest_of(labeled[:1], 1.5) == np.inf
    assert furthest_of(labeled, 0) == np.inf


def test_sizes_within_the_labeled_range() -> None:
    labeled = np.array([[10.0, 100.0], [20.0, 200.0]])
    assert sizes_fit(np.array([5.0, 400.0]), labeled, (0.5, 2.0))
    assert not sizes_fit(np.array([4.0, 400.0]), labeled, (0.5, 2.0))


def test_voxel_thresholds_are_medians_of_their_class() -> None:
    thresholds = class_thresholds([FOUR], SelectiveSettings(floor=0.55, cap=0.85))
    # medians 0.9, (0.6 + 0.8) / 2 and 0.5, held in 0.55..0.85
    np.testing.assert_allclose(thresholds, [0.85, 0.7, 0.55], atol=1e-6)
    assert sure_voxels(FOUR, thresholds).ravel().tolist() == [True, False, True, False]


# --- held-out folds -----------------------------------------------------------------------


def test_folds_by_case_hold_out_each_once() -> None:
    folds = make_folds([C, A, B], 2, slab=4, axis=2)
    assert [fold.cases for fold in folds] == [("a", "c"), ("b",)]
    assert all(fold.whole for fold in folds)
    assert [f.cases for f in make_folds([A, B], 5, slab=4, axis=2)] == [("a",), ("b",)]


def test_one_case_is_held_out_in_slabs_that_share_no_slice() -> None:
    folds = make_folds([A], 2, slab=2, axis=0)
    mask = np.ones((7, 1, 1), np.uint8)
    seen = [fold.shown(mask).ravel().tolist() for fold in folds]
    held = [fold.hidden(mask).ravel().tolist() for fold in folds]
    x = IGNORE
    assert seen == [[x, x, 1, 1, x, x, 1], [1, 1, x, x, 1, 1, x]]
    assert held == [seen[1], seen[0]]
    assert make_folds([A], 2, slab=0, axis=0) == []
