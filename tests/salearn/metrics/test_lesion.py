import math

import numpy as np
import pytest

from salearn.metrics.lesion import components, lesion_counts, overlaps


def volume(*boxes):
    mask = np.zeros((20, 6, 6), bool)
    for start, stop in boxes:
        mask[start:stop, 1:4, 1:4] = True
    return mask


def test_one_found_one_missed_one_invented():
    found = lesion_counts(volume((1, 4), (14, 16)), volume((1, 4), (8, 10)))
    assert (found.found, found.missed, found.invented) == (1, 1, 1)
    assert (found.sensitivity, found.precision, found.f1) == (0.5, 0.5, 0.5)


def test_the_overlap_needed_for_a_match():
    # Boxes of 4 that share 1: IoU 1/7 = .143
    prediction, reference = volume((1, 5)), volume((4, 8))
    assert overlaps(prediction, reference) == pytest.approx(np.array([[1 / 7]]))
    assert lesion_counts(prediction, reference).found == 1
    assert lesion_counts(prediction, reference, min_iou=0.5).found == 0


def test_a_blob_over_two_lesions_finds_one():
    found = lesion_counts(volume((1, 12)), volume((1, 5), (7, 12)))
    assert (found.found, found.missed, found.invented) == (1, 1, 0)


def test_matching_gives_the_most_matches_and_not_the_best_pair():
    # The middle prediction overlaps both lesions, best with the one that the other one also finds.
    reference = volume((0, 6), (8, 14))
    prediction = volume((4, 9))  # 2 shared with the first, 1 with the second
    prediction |= volume((0, 3))
    assert overlaps(prediction, reference) == pytest.approx(np.array([[3 / 6, 2 / 9], [0, 1 / 10]]))
    assert lesion_counts(prediction, reference, min_iou=0.1).found == 2
    assert lesion_counts(prediction, reference, min_iou=0.2).found == 1


def test_empty_masks():
    nothing, one = volume(), volume((1, 3))
    assert math.isnan(lesion_counts(nothing, nothing).f1)
    assert lesion_counts(nothing, one).f1 == 0
    assert math.isnan(lesion_counts(nothing, one).precision)
    assert lesion_counts(one, nothing).invented == 1


def test_counts_of_cases_add_up():
    total = lesion_counts(volume((1, 3)), volume((1, 3))) + lesion_counts(
        volume(), volume((1, 3), (6, 8))
    )
    assert total.f1 == pytest.approx(2 / 4)


@pytest.mark.parametrize(("corner", "counts"), [((0, 1, 1), (2, 1, 1)), ((1, 1, 1), (2, 2, 1))])
def test_connectivity(corner, counts):
    mask = np.zeros((2, 2, 2), bool)
    mask[0, 0, 0] = mask[corner] = True
    assert tuple(components(mask, n)[1] for n in (6, 18, 26)) == counts


def test_a_threshold_that_matches_everything_is_refused():
    with pytest.raises(ValueError, match="min_iou"):
        lesion_counts(volume(), volume(), min_iou=0)
