"""AUC at three levels while cases go by: known answers, scikit-learn, what is undefined."""

import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from salearn.cases import IGNORE
from salearn.metrics.auc_levels import AucSettings, AucTable

ALL = AucSettings(levels=("pixel_micro", "pixel_macro", "image"))


def soft(scores: list[float] | np.ndarray) -> np.ndarray:
    one = np.asarray(scores, np.float32).reshape(-1, 1, 1)
    return np.stack([1 - one, one])


def masked(truth: list[int] | np.ndarray) -> np.ndarray:
    return np.asarray(truth, np.uint8).reshape(-1, 1, 1)


def by_level(table: AucTable) -> dict[str, dict]:
    return {row["level"]: row for row in table.rows()}


def test_the_known_answer_of_six_pixels() -> None:
    table = AucTable(("x",), ALL)
    table.update("a", soft([0.1, 0.4, 0.35, 0.8, 0.4, 0.4]), masked([0, 0, 1, 1, 0, 1]))
    assert by_level(table)["pixel_micro"]["auc"] == pytest.approx(2 / 3)
    assert by_level(table)["pixel_macro"]["n_used"] == 1


def test_levels_agree_with_scikit_learn_within_the_bound() -> None:
    rng = np.random.default_rng(0)
    images = []
    for k in range(8):
        truth = (rng.random(400) < (0.2 if k % 4 else 0)).astype(np.uint8)
        images.append((np.clip(rng.normal(0.4 + 0.2 * truth, 0.15), 0, 1), truth))
    table = AucTable(("x",), ALL)
    for k, (scores, truth) in enumerate(images):
        table.update(str(k), soft(scores), masked(truth))
    found = by_level(table)
    both = [(s, t) for s, t in images if t.any()]
    pooled = [np.concatenate(part) for part in zip(*images, strict=True)]
    micro = roc_auc_score(pooled[1], pooled[0])
    assert abs(found["pixel_micro"]["auc"] - micro) <= found["pixel_micro"]["bound"] + 1e-9
    macro = np.mean([roc_auc_score(t, s) for s, t in both])
    assert abs(found["pixel_macro"]["auc"] - macro) <= found["pixel_macro"]["bound"] + 1e-9
    assert (found["pixel_macro"]["n_used"], found["pixel_macro"]["n_total"]) == (6, 8)
    binned = np.minimum((pooled[0].astype(np.float32) * 1024).astype(int), 1023)
    precision = average_precision_score(pooled[1], binned)
    assert found["pixel_micro"]["average_precision"] == pytest.approx(precision)
    presence = [float(np.sort(s)[-1]) for s, _ in images]  # the top 0.1 % of 400 pixels is one
    assert found["image"]["auc"] == pytest.approx(
        roc_auc_score([bool(t.any()) for _, t in images], presence)
    )
    assert [row["present"] for row in table.cases] == [bool(t.any()) for _, t in images]


def test_what_is_undefined_says_why_and_unannotated_pixels_count_nowhere() -> None:
    table = AucTable(("x",), ALL)
    table.update("a", soft([0.9, 0.2, 0.95]), masked([1, 0, IGNORE]))
    table.update("b", soft([0.9, 0.2, 0.1]), masked([IGNORE] * 3))
    found = by_level(table)
    assert found["pixel_micro"]["auc"] == 1.0
    assert found["pixel_micro"]["n_total"] == 1
    assert math.isnan(found["image"]["auc"])
    assert "an image without" in found["image"]["why"]
    empty = AucTable(("x",), ALL)
    empty.update("a", soft([0.3, 0.4]), masked([0, 0]))
    assert all(math.isnan(row["auc"]) and row["why"] for row in empty.rows())


@pytest.mark.parametrize(("presence", "score"), [("max", 0.9), ("area", 0.5), ("top_mean", 0.8)])
def test_presence_scores_by_hand(presence: str, score: float) -> None:
    how = AucSettings(levels=("image",), presence=presence, share=0.5)
    # the top half of four pixels is 0.9 and 0.7; two of four lie above 0.5
    assert how.score(np.array([0.1, 0.9, 0.7, 0.2])) == pytest.approx(score)
