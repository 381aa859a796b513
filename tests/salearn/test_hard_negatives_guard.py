import numpy as np
import pytest

from salearn.cases import IGNORE
from salearn.hard_negatives import NegativeSettings
from salearn.hard_negatives_guard import (
    FalsePositives,
    GuardSettings,
    RecallGuard,
    false_positives,
    judge,
    recall_of,
)

GIVEN = GuardSettings()


def test_a_drop_of_recall_beyond_a_point_halves_the_ratio_of_negatives() -> None:
    guard = RecallGuard(0.01)
    guard.look({0: 0.90, 1: 0.80})
    guard.look({0: 0.89, 1: 0.79})  # exactly one point: not more
    assert guard.factor == 1
    guard.look({0: 0.90, 1: 0.77})  # (0 + 0.03) / 2
    assert guard.factor == 0.5
    guard.look({0: 0.90, 1: 0.77, 2: 0.1})  # measured from there on; a new volume has no drop
    guard.look({0: float("nan")})
    assert guard.factor == 0.5
    guard.look({2: 0.05})
    assert guard.factor == 0.25


def test_half_the_ratio_is_a_seventh_of_the_slices() -> None:
    eased = NegativeSettings(pixel=True).eased(0.5)
    assert eased.share == pytest.approx(1 / 7)  # one to three becomes one to six
    assert eased.ohem.ratio == 1.5
    assert NegativeSettings().eased(1.0) == NegativeSettings()


def test_recall_counts_voxels_of_all_classes() -> None:
    mask = np.array([1, 1, 2, 2, 0, IGNORE], np.uint8).reshape(6, 1, 1)
    p = np.zeros((2, 6, 1, 1))
    p[0, 0] = p[1, 2:4] = p[0, 4:] = 0.9
    assert recall_of(p, mask, 0.5) == 0.75  # one of two, and two of two
    assert np.isnan(recall_of(p, np.zeros((6, 1, 1), np.uint8), 0.5))


def looked(
    p: np.ndarray, mask: np.ndarray, spacing: tuple[float, float, float] = (1, 1, 1)
) -> FalsePositives:
    return false_positives(p, mask, 1, spacing, 2, GIVEN)


def test_only_what_lies_within_two_millimetres_is_a_matter_of_the_border() -> None:
    mask = np.zeros((20, 6, 4), np.uint8)
    mask[:5] = 1
    p = np.zeros(mask.shape)
    p[5:7, 0:2, 0] = 0.9  # 1 and 2 mm from the mask
    p[5:8, 4:6, 0] = 0.9  # reaches 3 mm
    p[12, 2, 2] = 0.9  # far away
    found = looked(p, mask)
    by_size = dict(zip(found.found.volume.tolist(), found.shell.tolist(), strict=True))
    assert by_size == {4.0: True, 6.0: False, 1.0: False}
    wide = looked(p, mask, (2.5, 1, 1))
    assert not wide.shell.any()  # the next voxel is 2.5 mm off
    empty = looked(p, np.zeros_like(mask))
    assert not empty.shell.any()  # without a reference there is no shell


def test_what_is_in_eight_of_ten_slices_goes_to_the_review_queue() -> None:
    mask, p = np.zeros((8, 8, 14), np.uint8), np.zeros((8, 8, 14))
    p[1, 1, 3:11] = 0.9  # eight slices
    p[5, 5, 0:7] = 0.8  # seven
    p[7, 1, ::2] = 0.8  # alone in each slice
    mask[7, 1, 0] = IGNORE
    found = looked(p, mask)
    assert sorted(found.found.volume[found.slices].tolist()) == [8.0]
    review = judge({3: [found]}, ["a", "b", "c", "d"], list("wxyz"), {3: (1, 1, 1)}, GIVEN)
    (row,) = review.rows[3]
    assert (row["case"], row["class"], row["recurs_in"]) == ("d", 1, "slices")
    assert row["volume_ml"] == 0.008
    assert row["centre_mm"] == [1.0, 1.0, 6.5]
    expected = np.zeros(mask.shape, bool)
    expected[1, 1, 3:11] = True
    np.testing.assert_array_equal(review.excluded[3][0], expected)


def test_what_recurs_in_four_of_five_phases_goes_to_the_review_queue() -> None:
    mask = np.zeros((12, 12, 6), np.uint8)
    phases = []
    for k in range(5):
        p = np.zeros(mask.shape)
        if k != 2:
            p[2 + k % 2 : 4 + k % 2, 2:4, 2] = 0.9  # moves to and fro, overlapping itself
        if k in (1, 3, 4):
            p[9, 9, 4] = 0.9
        phases.append([looked(p, mask, (3, 3, 6))])
    names, patients = [f"p_{k}" for k in range(5)], ["p"] * 5
    spacings = {k: (3.0, 3.0, 6.0) for k in range(5)}
    # The gap in phase 2 leaves two tracks (two phases each) of the first component: not enough.
    split = judge(dict(enumerate(phases)), names, patients, spacings, GIVEN)
    assert all(rows == [] for rows in split.rows.values())
    order = [0, 1, 3, 4, 2]  # annotated phases in a row, the one without it last
    found = {i: phases[k] for i, k in enumerate(order)}
    review = judge(found, names, patients, spacings, GIVEN)
    assert [len(review.rows[i]) for i in range(5)] == [1, 1, 1, 1, 0]
    assert review.rows[0][0]["recurs_in"] == "phases"
    assert review.excluded[1].sum() == 4
    few = judge({0: phases[0]}, names, patients, spacings, GIVEN)
    assert few.rows == {0: []}  # one phase says nothing about recurrence
