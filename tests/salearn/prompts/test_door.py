"""Masks cannot become prompts of unlabeled cases: the door takes a type that no mask has."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from salearn.cases import CaseId
from salearn.errors import DataError
from salearn.oracle import CostModel, Oracle
from salearn.prompts.door import Prediction, Reference, UnlabeledDoor, predict
from salearn.prompts.geometry import Box, Click

CASE = CaseId("a")


class Bright:
    """Says class 1 where the image is above 0, and asks for nothing else."""

    def predict(self, volumes: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        for volume in volumes:
            p = np.clip(volume[0], 0, 1).astype(np.float32)
            yield np.stack([1 - p, p])

    def save(self, path: Path) -> None: ...


def poisoned(case: CaseId) -> np.ndarray:
    raise AssertionError(f"the mask of {case} was opened")


def image() -> np.ndarray:
    volume = np.zeros((1, 6, 3, 5), np.float32)
    volume[0, 1:4, 1, 2:5] = 1  # on slice 1 across y: rows 1..3, columns 2..4
    return volume


def test_boxes_and_clicks_come_from_the_prediction_and_no_mask_is_opened(tmp_path: Path) -> None:
    oracle = Oracle(poisoned, tmp_path / "queries.jsonl", CostModel(), axis=1)
    prediction = predict(Bright(), CASE, image())
    boxes = UnlabeledDoor(axis=1).prompts(prediction)
    clicks = UnlabeledDoor(axis=1, kind="click").prompts(prediction)
    assert {i: p.boxes for i, (p,) in boxes.items()} == {1: (Box(1, 2, 4, 5),)}
    assert {i: p.clicks for i, (p,) in clicks.items()} == {1: (Click(2, 3),)}
    assert not (tmp_path / "queries.jsonl").exists()
    with pytest.raises(DataError, match="nobody annotated"):
        Reference.annotated(oracle, CASE)
    with pytest.raises(AssertionError, match="was opened"):
        Reference.revealed(oracle, CASE, "test")  # that door is another one, and it is logged


@pytest.mark.parametrize("kind", ["mask", "reference"])
def test_a_mask_does_not_fit_through_the_door(kind: str) -> None:
    mask = np.zeros((6, 3, 5), np.uint8)
    wrong = mask if kind == "mask" else Reference(CASE, mask)
    with pytest.raises(Exception, match="Prediction"):  # the annotation, or the door itself
        UnlabeledDoor(axis=1).prompts(wrong)


def test_a_mask_cannot_be_called_a_prediction() -> None:
    with pytest.raises(Exception, match=r"(?s)probabilities"):
        Prediction(CASE, np.zeros((6, 3, 5), np.uint8))
