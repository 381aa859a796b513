"""What hard negatives are mined for: false positives, absence, borders of little contrast."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

from salearn.cases import IGNORE
from salearn.hard_negatives import hardness
from salearn.hard_negatives_boundary import contrast_of, nearest_point

Spacing = tuple[float, float, float]


def false_positive_ml(
    found: Bool[np.ndarray, "x y z"], mask: UInt8[np.ndarray, "x y z"], label: int, spacing: Spacing
) -> float:
    """Volume that is found and not of the class, in one scan; unannotated voxels do not count."""
    wrong = int((found & (mask != label) & (mask != IGNORE)).sum())
    return wrong * float(np.prod(spacing)) / 1000


def slice_presence(
    p: Float[np.ndarray, "x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    label: int,
    axis: int,
    top: float = 1e-3,
) -> tuple[Float[np.ndarray, " slice"], Bool[np.ndarray, " slice"]]:
    """Score of each slice for showing a structure, and whether it does.

    The score is the mean of the highest `top` share of g; where presence gates, g holds it. The
    AUC of these (`salearn.metrics.auc.auc`, level "image") says how well slices without the
    structure are told from those with it.

    Source: adaptation notes 4 (image level) and 8.1.
    """
    slices = np.moveaxis(p, axis, 0)
    there: np.ndarray = (np.moveaxis(mask, axis, 0) == label).any(axis=(1, 2))
    return hardness(slices, top), there


def tertiles(contrasts: Sequence[Float[np.ndarray, " _point"]]) -> tuple[float, float]:
    """The two values that split the boundary points of all scans into equal thirds."""
    low, high = np.quantile(np.concatenate(list(contrasts)), [1 / 3, 2 / 3])
    return float(low), float(high)


def contrast_bands(
    image: Float[np.ndarray, "x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    label: int,
    spacing: Spacing,
    edges: tuple[float, float],
    reach_mm: float = 10.0,
    radius_mm: float = 5.0,
) -> UInt8[np.ndarray, "x y z"]:
    """1, 2, 3 = voxels near a boundary of low, middle, high contrast; 0 = far, or not annotated.

    Args:
        edges: of the tertiles. reach_mm: what is near; to which boundary point a voxel belongs
            is a matter of distance, as in the weights of the boundary tier. radius_mm: of the
            balls that contrast is measured in; the same as for the edges.
    """
    bands = np.zeros(mask.shape, np.uint8)
    points, contrast = contrast_of(image, mask, label, spacing, radius_mm)
    if not len(points):
        return bands
    third = np.zeros(mask.shape, np.uint8)
    third[tuple(points.T)] = 1 + np.searchsorted(np.array(edges), contrast, side="right")
    distance, owner = nearest_point(third > 0, spacing)
    near = (distance <= reach_mm) & (mask != IGNORE)
    bands[near] = third[tuple(owner)][near]
    return bands


def banded_dice(
    found: Bool[np.ndarray, "x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    label: int,
    bands: UInt8[np.ndarray, "x y z"],
) -> tuple[float, float, float]:
    """Dice inside each band (low, middle, high contrast); NaN where there is neither."""
    inside = mask == label
    scores = []
    for band in (1, 2, 3):
        here = bands == band
        size = int((found & here).sum()) + int((inside & here).sum())
        scores.append(2 * int((found & inside & here).sum()) / size if size else float("nan"))
    return scores[0], scores[1], scores[2]
