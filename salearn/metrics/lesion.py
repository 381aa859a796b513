"""Lesions found, missed and invented: connected components matched one to one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.metrics.overlap import ratio

Connectivity = Literal[6, 18, 26]
_RANK = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True, kw_only=True)
class LesionCounts:
    """Components by outcome; adding the counts of cases gives micro averages over lesions."""

    found: int
    missed: int
    invented: int

    def __add__(self, other: LesionCounts) -> LesionCounts:
        """The counts of both together."""
        return LesionCounts(
            found=self.found + other.found,
            missed=self.missed + other.missed,
            invented=self.invented + other.invented,
        )

    @property
    def sensitivity(self) -> float:
        """Found / lesions; NaN if there are none."""
        return ratio(self.found, self.found + self.missed)

    @property
    def precision(self) -> float:
        """Found / predicted components; NaN if there are none."""
        return ratio(self.found, self.found + self.invented)

    @property
    def f1(self) -> float:
        """2 found / (2 found + missed + invented); NaN without any component."""
        return ratio(2 * self.found, 2 * self.found + self.missed + self.invented)


def components(
    mask: Bool[np.ndarray, "x y z"], connectivity: Connectivity = 26
) -> tuple[np.ndarray, int]:
    """Component number of each voxel (0 = background) and how many there are.

    Args:
        connectivity: neighbours of a voxel: 6 = faces, 18 = and edges, 26 = and corners.
    """
    from scipy.ndimage import generate_binary_structure, label

    numbers, count = label(mask, generate_binary_structure(3, _RANK[connectivity]))
    return np.asarray(numbers), int(count)


def overlaps(
    prediction: Bool[np.ndarray, "x y z"],
    reference: Bool[np.ndarray, "x y z"],
    connectivity: Connectivity = 26,
) -> Float[np.ndarray, "lesion predicted"]:
    """IoU of every component of the reference with every component of the prediction."""
    truth, lesions = components(reference, connectivity)
    guess, predicted = components(prediction, connectivity)
    pairs = truth.ravel().astype(np.int64) * (predicted + 1) + guess.ravel()
    size = (lesions + 1, predicted + 1)
    table = np.bincount(pairs, minlength=size[0] * size[1]).reshape(size)
    shared = table[1:, 1:]
    union = table[1:].sum(axis=1)[:, None] + table[:, 1:].sum(axis=0) - shared
    iou: np.ndarray = shared / union
    return iou


def lesion_counts(
    prediction: Bool[np.ndarray, "x y z"],
    reference: Bool[np.ndarray, "x y z"],
    min_iou: float = 0.1,
    connectivity: Connectivity = 26,
) -> LesionCounts:
    """Lesions found, missed and invented: a pair matches if its IoU is at least `min_iou`.

    One to one: the assignment with the most matches, among those the one with the most IoU. So one
    blob over two lesions finds one of them.

    Args:
        min_iou: 0.1 by default; 0.5 is the stricter usual choice (a match is then unique).

    Raises:
        ValueError: `min_iou` is not in 0..1, 0 excluded.
    """
    from scipy.optimize import linear_sum_assignment

    if not 0 < min_iou <= 1:
        raise ValueError(f"min_iou must be above 0 and at most 1, got {min_iou}")
    iou = overlaps(prediction, reference, connectivity)
    match = iou >= min_iou
    # The number of matches comes first: all IoUs together weigh less than one match.
    rows, columns = linear_sum_assignment(match * (1 + iou / (1 + min(iou.shape))), maximize=True)
    found = int(match[rows, columns].sum())
    return LesionCounts(found=found, missed=iou.shape[0] - found, invented=iou.shape[1] - found)
