"""What label maps say of shapes: signed distances and largest components."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

Absent = Literal["outside", "zero"]


def signed_distance(
    mask: Int[Tensor, "b x y z"], num_classes: int, absent: Absent = "outside"
) -> Float[Tensor, "b _foreground x y z"]:
    """-1 deep inside each foreground class to +1 far outside, 0 on its innermost border.

    Distances are in voxels; those inside and those outside are scaled to 0..1 in each crop. What is
    ignored counts as outside.

    Args:
        absent: a class that a crop does not show is 1 everywhere ("outside"), or 0 ("zero", the
            reference's, which makes every voxel a border).

    Source: DTC and SASSNet (their normalised distance maps); one map for each class is ours.
    """
    found = np.stack(
        [
            np.stack([_distance(crop == c, absent) for c in range(1, num_classes)])
            for crop in mask.cpu().numpy()
        ]
    )
    return torch.from_numpy(found).to(mask.device)


def _distance(inside: np.ndarray, absent: Absent) -> np.ndarray:
    from scipy.ndimage import binary_erosion, distance_transform_edt

    if not inside.any():
        return np.full(inside.shape, 1.0 if absent == "outside" else 0.0, np.float32)
    if inside.all():
        return np.full(inside.shape, -1.0, np.float32)
    scaled = _unit(distance_transform_edt(~inside)) - _unit(distance_transform_edt(inside))
    # The side of a crop is no border of the object.
    scaled[inside & ~binary_erosion(inside, border_value=1)] = 0
    return np.asarray(scaled, np.float32)


def _unit(distance: np.ndarray) -> np.ndarray:
    low, high = distance.min(), distance.max()
    return np.asarray((distance - low) / (high - low))


def largest_components(labels: Int[Tensor, "b x y z"], num_classes: int) -> Int[Tensor, "b x y z"]:
    """Labels with the largest connected piece (faces) of each foreground class, the rest 0."""
    from scipy.ndimage import label

    crops = labels.cpu().numpy()
    kept = np.zeros_like(crops)
    for row, crop in enumerate(crops):
        for c in range(1, num_classes):
            pieces, count = label(crop == c)
            if count:
                sizes = np.bincount(pieces.ravel())
                kept[row][pieces == 1 + int(sizes[1:].argmax())] = c
    return torch.from_numpy(kept).to(labels.device)
