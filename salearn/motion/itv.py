"""Internal target volumes: where a structure ever is, and how a mask gets to another grid."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, UInt16

from salearn.motion.components import Spacing


def occupancy(masks: Bool[np.ndarray, "phase x y z"]) -> UInt16[np.ndarray, "x y z"]:
    """In how many phases a voxel belongs to the structure."""
    counts: np.ndarray = masks.sum(axis=0, dtype=np.uint16)
    return counts


def internal_target(
    masks: Bool[np.ndarray, "phase x y z"], votes: int = 1
) -> Bool[np.ndarray, "x y z"]:
    """Voxels that belong to the structure in at least `votes` phases; 1 = the union.

    Raises:
        ValueError: more votes than phases, or fewer than 1.
    """
    if not 1 <= votes <= len(masks):
        raise ValueError(f"votes: give 1 to the number of phases ({len(masks)}), not {votes}")
    if votes == 1:
        return np.asarray(masks.any(axis=0))
    return occupancy(masks) >= votes


def core(masks: Bool[np.ndarray, "phase x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Voxels that belong to the structure in every phase."""
    return np.asarray(masks.all(axis=0))


def signed_distance(
    mask: Bool[np.ndarray, "x y z"], spacing: Spacing
) -> Float[np.ndarray, "x y z"]:
    """mm to the border of a mask, positive inside; outside the image is outside the mask.

    Between the centres of an inner and an outer voxel the border is half-way. An empty mask gives
    minus infinity everywhere.
    """
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        return np.full(mask.shape, -np.inf)
    wide = np.pad(mask, 1)
    inside = distance_transform_edt(wide, sampling=spacing)
    outside = distance_transform_edt(~wide, sampling=spacing)
    trimmed: np.ndarray = (inside - outside)[1:-1, 1:-1, 1:-1]
    return trimmed


def resample_mask(
    mask: Bool[np.ndarray, "_x _y _z"],
    affine: Float[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    onto: Float[np.ndarray, "4 4"],
) -> Bool[np.ndarray, "_a _b _c"]:
    """A mask on another grid: its signed distance is interpolated linearly, not its labels.

    Args:
        affine: voxel index -> mm of the mask; onto: of the wanted grid, of `shape` voxels.

    Source: reference section 8.4.
    """
    from scipy.ndimage import affine_transform

    if not mask.any():
        return np.zeros(shape, dtype=bool)
    x, y, z = (float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
    distance = signed_distance(np.pad(mask, 1), (x, y, z))  # one voxel more: the border is known
    move = np.linalg.inv(affine) @ onto
    offset = move[:3, 3] + 1
    far = float(distance.min())
    there = affine_transform(distance, move[:3, :3], offset, shape, order=1, cval=far)
    inside: np.ndarray = there > 0
    return inside
