import math
import time

import numpy as np
import pytest

from salearn.cases import IGNORE, CaseId
from salearn.errors import DataError
from salearn.metrics.evaluate import (
    METRICS,
    OVERLAPS,
    evaluate_case,
    score_case,
    summarise,
    with_micro,
)
from salearn.metrics.surface import SurfaceSettings

CASE = CaseId("hippocampus_001")
TWO = ("anterior", "posterior")
SPACING = (1.0, 1.0, 2.0)


def volume(**blocks):
    labels = np.zeros((20, 18, 16), dtype=np.uint8)
    for name, (value, *bounds) in blocks.items():
        assert name
        labels[tuple(slice(low, high) for low, high in bounds)] = value
    return labels


REFERENCE = volume(a=(1, (2, 8), (3, 9), (4, 10)), b=(2, (8, 14), (3, 9), (4, 10)))


def test_rows_have_the_agreed_keys_in_order():
    rows = evaluate_case(REFERENCE, REFERENCE, SPACING, TWO, CASE)
    assert [row["class"] for row in rows] == list(TWO)
    assert list(rows[0]) == ["case", "class", *METRICS, "status"]
    assert rows[0] == {
        **{"case": CASE, "class": "anterior", "status": "ok", "volume_error": 0.0, "nsd": 1.0},
        **dict.fromkeys(["dice", "iou", "sensitivity", "specificity", "precision"], 1.0),
        **dict.fromkeys(["hd95_mm", "hd95_pooled_mm", "assd_mm"], 0.0),
    }


def test_scores_of_a_shifted_block_by_hand():
    moved = np.roll(REFERENCE, 1, axis=2)  # one 2 mm slice
    row = evaluate_case(moved, REFERENCE, SPACING, TWO, CASE)[0]
    # 6 x 6 x 6 voxels, 6 x 6 x 5 shared; outside: 20 * 18 * 16 - 216 of which 36 are false
    assert row["dice"] == pytest.approx(2 * 180 / 432)
    assert row["specificity"] == pytest.approx((5760 - 216 - 36) / (5760 - 216))
    assert row["hd95_mm"] == pytest.approx(2.0)
    tight = SurfaceSettings(tolerance_mm=1.0)
    assert evaluate_case(moved, REFERENCE, SPACING, TWO, CASE, tight)[0]["nsd"] < row["nsd"] == 1


def test_scores_do_not_depend_on_empty_space_around():
    wide = [np.pad(mask, 5) for mask in (np.roll(REFERENCE, 1, axis=1), REFERENCE)]
    narrow = [mask[5:-5, 5:-5, 5:-5] for mask in wide]
    far, near = (evaluate_case(*pair, SPACING, TWO, CASE) for pair in (wide, narrow))
    for one, other in zip(far, near, strict=True):
        assert one.pop("specificity") > other.pop("specificity")
        assert one == other


def test_voxels_that_nobody_annotated_change_nothing():
    reference = REFERENCE.copy()
    reference[:, :, 7:] = IGNORE
    prediction = REFERENCE.copy()
    garbage = prediction.copy()
    garbage[:, :, 7:] = 2
    clean = evaluate_case(prediction, reference, SPACING, TWO, CASE)
    assert evaluate_case(garbage, reference, SPACING, TWO, CASE) == clean
    assert clean[0]["dice"] == 1.0
    assert clean[0]["hd95_mm"] == 0.0


def test_every_status_is_told_and_the_distance_is_the_diagonal():
    empty = np.zeros_like(REFERENCE)
    missed = evaluate_case(empty, REFERENCE, SPACING, TWO, CASE)[0]
    false = evaluate_case(REFERENCE, empty, SPACING, TWO, CASE)[0]
    absent = evaluate_case(empty, empty, SPACING, TWO, CASE)[0]
    assert [row["status"] for row in (missed, false, absent)] == ["missed", "false", "absent"]
    diagonal = math.sqrt(20**2 + 18**2 + 32**2)
    assert missed["hd95_mm"] == false["assd_mm"] == pytest.approx(diagonal)
    assert math.isnan(absent["hd95_mm"])
    assert absent["specificity"] == 1.0


def test_a_missed_and_a_perfect_case_do_not_average_to_a_perfect_distance():
    rows = [
        *evaluate_case(REFERENCE, REFERENCE, SPACING, TWO, CaseId("perfect")),
        *evaluate_case(np.zeros_like(REFERENCE), REFERENCE, SPACING, TWO, CaseId("missed")),
    ]
    anterior, posterior, mean = summarise(rows)
    diagonal = math.sqrt(20**2 + 18**2 + 32**2)
    assert anterior["dice"] == 0.5
    assert anterior["hd95_mm"] == pytest.approx(diagonal / 2)
    assert anterior["n_missed"] == posterior["n_missed"] == 1
    assert mean["class"] == "mean"
    assert (mean["n_used"], mean["n_missed"], mean["n_total"]) == (4, 2, 4)


def test_rows_and_means_gain_the_distances_that_are_asked_for():
    how = SurfaceSettings(directed=True, surfel=True, parity=True)
    moved = np.roll(REFERENCE, 1, axis=2)  # one 2 mm slice
    good = evaluate_case(moved, REFERENCE, SPACING, TWO, CaseId("good"), how)
    missed = evaluate_case(np.zeros_like(moved), REFERENCE, SPACING, TWO, CaseId("missed"), how)
    assert list(good[0]) == ["case", "class", *OVERLAPS, *how.columns, "volume_error", "status"]
    assert good[0]["hd95_surfel_mm"] == 2.0
    assert good[0]["hd95_voxel"] == 1.0
    anterior = summarise([*good, *missed])[0]
    far = math.sqrt(20**2 + 18**2 + 16**2)  # the diagonal in voxels
    assert anterior["hd95_voxel"] == pytest.approx((1 + far) / 2)
    assert anterior["hd95_surfel_mm"] == pytest.approx((2 + math.sqrt(20**2 + 18**2 + 32**2)) / 2)
    assert not set(summarise(evaluate_case(moved, moved, SPACING, TWO, CASE))[0]) & {"asd_mm"}


def overlap_of(tp, fp, fn):
    """Prediction and reference with these counts, along a line of voxels."""
    prediction, reference = np.zeros((2, 120, 1, 1), dtype=np.uint8)
    prediction[: tp + fp] = reference[fp : tp + fp + fn] = 1
    return prediction, reference


def test_macro_and_micro_averages_agree_with_the_known_answers():
    scored = []
    for case, counts in {"small": (10, 0, 10), "large": (90, 10, 10)}.items():
        scored += score_case(*overlap_of(*counts), SPACING, ("tumour",), CaseId(case))
    rows = [row for row, _ in scored]
    for row in with_micro(summarise(rows), scored):
        assert row["dice"] == pytest.approx((20 / 30 + 180 / 200) / 2) == pytest.approx(47 / 60)
        assert row["iou"] == pytest.approx((10 / 20 + 90 / 110) / 2) == pytest.approx(0.65909091)
        # pooled: TP 100, FP 10, FN 20
        expected = {"dice": 200 / 230, "sensitivity": 100 / 120, "precision": 100 / 110}
        assert row["micro"] == pytest.approx(expected)
        assert row["micro"]["dice"] == pytest.approx(0.869565, abs=1e-6)


def test_the_mean_row_pools_the_voxels_of_all_classes():
    prediction = np.where(REFERENCE == 2, 0, REFERENCE).astype(np.uint8)
    scored = score_case(prediction, REFERENCE, SPACING, TWO, CASE)
    anterior, posterior, mean = with_micro(summarise(row for row, _ in scored), scored)
    assert anterior["micro"] == {"dice": 1.0, "sensitivity": 1.0, "precision": 1.0}
    assert posterior["micro"]["dice"] == 0.0
    assert math.isnan(posterior["micro"]["precision"])
    # 216 of 432 voxels found, none false
    assert mean["micro"] == pytest.approx({"dice": 2 / 3, "sensitivity": 0.5, "precision": 1.0})


def test_means_leave_out_what_is_undefined_and_count_it():
    no_posterior = np.where(REFERENCE == 2, 0, REFERENCE).astype(np.uint8)
    rows = [
        *evaluate_case(no_posterior, no_posterior, SPACING, TWO, CaseId("absent")),
        *evaluate_case(REFERENCE, no_posterior, SPACING, TWO, CaseId("false")),
        *evaluate_case(REFERENCE, REFERENCE, SPACING, TWO, CaseId("good")),
    ]
    anterior, posterior, mean = summarise(rows)
    assert posterior["dice"] == 0.5  # (0 + 1) / 2, the absent case is not among them
    assert posterior["sensitivity"] == 1.0  # defined in the good case only
    counted = {key: posterior[key] for key in ("n_total", "n_used", "n_false", "n_absent")}
    assert counted == {"n_total": 3, "n_used": 2, "n_false": 1, "n_absent": 1}
    assert mean["dice"] == (anterior["dice"] + posterior["dice"]) / 2


def test_a_class_without_any_value_is_left_out_of_the_mean_over_classes():
    empty = np.zeros_like(REFERENCE)
    only = np.where(REFERENCE == 1, REFERENCE, empty)
    rows = evaluate_case(only, only, SPACING, TWO, CASE)
    _, posterior, mean = summarise(rows)
    assert math.isnan(posterior["dice"])
    assert mean["dice"] == 1.0
    assert mean["n_absent"] == 1
    assert summarise([]) == []


@pytest.mark.parametrize(
    ("prediction", "spacing", "message"),
    [
        (np.zeros((20, 18, 15), dtype=np.uint8), SPACING, "hippocampus_001.*grid of the image"),
        (REFERENCE, (1.0, 0.0, 2.0), "hippocampus_001.*spacing"),
        (np.full_like(REFERENCE, 7), SPACING, r"prediction has labels \[7\].*0\.\.2"),
        (np.full_like(REFERENCE, IGNORE), SPACING, "prediction has labels"),
    ],
)
def test_bad_input_names_the_case_and_what_to_do(prediction, spacing, message):
    with pytest.raises(DataError, match=message):
        evaluate_case(prediction, REFERENCE, spacing, TWO, CASE)


def test_a_reference_with_unknown_labels_is_refused():
    with pytest.raises(DataError, match="reference has labels"):
        evaluate_case(np.zeros_like(REFERENCE), REFERENCE, SPACING, ("anterior",), CASE)


def test_a_volume_of_hippocampus_size_takes_less_than_10_ms_a_class():
    labels = np.zeros((36, 48, 40), dtype=np.uint8)
    x, y, z = np.indices(labels.shape)
    tube = ((x - 18) / 8) ** 2 + ((z - 20) / 9) ** 2 < 1
    labels[tube & (y > 6) & (y < 25)] = 1
    labels[tube & (y >= 25) & (y < 42)] = 2
    moved = np.roll(labels, 1, axis=0)
    spent = []
    for _ in range(7):
        start = time.process_time()
        evaluate_case(moved, labels, (1.0, 1.0, 1.0), TWO, CASE)
        spent.append(time.process_time() - start)
    assert sorted(spent)[3] < 2 * 0.010
