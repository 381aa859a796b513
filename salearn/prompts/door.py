"""Where prompts may come from; the door of unlabeled cases takes a type that no mask has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, UInt8

from salearn.cases import IGNORE, CaseId
from salearn.oracle import Oracle
from salearn.prompts.boxes import components, simulated_boxes
from salearn.prompts.clicks import depth
from salearn.prompts.geometry import Click, Prompt
from salearn.segmenter import Segmenter

ORACLE = "oracle prompts: upper bound, never ranked with automated"
AUTOMATED = "automated"


@dataclass(frozen=True, eq=False)
class Reference:
    """A mask that the oracle handed out, which is in its log. Made by `annotated` and `revealed`.

    Attributes:
        mask: classes 1..K, 255 = not annotated.
    """

    case_id: CaseId
    mask: UInt8[np.ndarray, "x y z"]

    @classmethod
    def annotated(cls, oracle: Oracle, case: CaseId) -> Reference:
        """Of a labeled case.

        Raises:
            DataError: nobody annotated the case.
        """
        return cls(case, oracle.mask(case))

    @classmethod
    def revealed(
        cls, oracle: Oracle, case: CaseId, purpose: Literal["validation", "test", "audit"]
    ) -> Reference:
        """Of a case that is measured; logged under its heading, no budget."""
        return cls(case, oracle.reveal(case, purpose, round=0))

    def plane(self, label: int, axis: int, index: int) -> Bool[np.ndarray, "h w"]:
        """Where a class is on one slice."""
        plane: np.ndarray = self.mask.take(index, axis) == label
        return plane

    def known(self, axis: int, index: int) -> Bool[np.ndarray, "h w"]:
        """Pixels of one slice that somebody annotated."""
        plane: np.ndarray = self.mask.take(index, axis) != IGNORE
        return plane


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of a case. It is made by `predict` alone, which opens no mask.

    Attributes:
        probabilities: classes 0..K, 0 = background.
    """

    case_id: CaseId
    probabilities: Float[np.ndarray, "class x y z"]

    def __post_init__(self) -> None:
        if self.probabilities.ndim != 4 or self.probabilities.dtype.kind != "f":
            raise TypeError(
                f"case {self.case_id}: a prediction is class probabilities (float, class x y z), "
                f"not {self.probabilities.dtype} of shape {self.probabilities.shape}"
            )


def predict(
    segmenter: Segmenter, case: CaseId, image: Float[np.ndarray, "channel x y z"]
) -> Prediction:
    """The prediction of a case from its image alone."""
    return Prediction(case, next(iter(segmenter.predict([image]))))


class UnlabeledDoor:
    """Prompts for cases without a mask. It knows neither the data set nor the oracle.

    Args:
        axis: of the slices. most: largest parts of an object that get a box or a click.
        kind: a tight box around each part, or a click at its deepest pixel.
    """

    def __init__(self, axis: int, most: int = 3, kind: Literal["box", "click"] = "box") -> None:
        self.axis = axis
        self.most = most
        self.kind = kind

    def prompts(self, prediction: Prediction) -> dict[int, list[Prompt]]:
        """For each slice, a prompt for each class that is predicted there.

        Raises:
            TypeError: given anything but a `Prediction`.
        """
        if not isinstance(prediction, Prediction):
            raise TypeError(
                "prompts for unlabeled cases come from predictions only, got "
                f"{type(prediction).__name__}; masks go through the oracle (Reference)"
            )
        labels = prediction.probabilities.argmax(axis=0)
        found: dict[int, list[Prompt]] = {}
        for index, plane in enumerate(np.moveaxis(labels, self.axis, 0)):
            present = [int(label) for label in np.unique(plane) if label > 0]
            if present:
                found[index] = [self._prompt(plane == label, label) for label in present]
        return found

    def _prompt(self, plane: Bool[np.ndarray, "h w"], label: int) -> Prompt:
        # Jitter 0 draws nothing that counts: the box is that of the prediction.
        boxes = simulated_boxes(plane, 0.0, self.most, np.random.default_rng(0))
        if self.kind == "box":
            return Prompt(label=label, boxes=boxes)
        return Prompt(label=label, clicks=tuple(self._clicks(plane)))

    def _clicks(self, plane: Bool[np.ndarray, "h w"]) -> Sequence[Click]:
        places = [depth(part) for part in components(plane, self.most)]
        spots = [np.unravel_index(int(place.argmax()), place.shape) for place in places]
        return [Click(int(row), int(column)) for row, column in spots]
