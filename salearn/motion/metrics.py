"""How a structure moves over its phases, in mm."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from jaxtyping import Bool, Float

from salearn.motion.components import Spacing

AXES = ("x", "y", "z")
NAN = float("nan")


def centroid_track(
    masks: Bool[np.ndarray, "phase x y z"], spacing: Spacing
) -> Float[np.ndarray, "phase 3"]:
    """Centroid of each phase in mm from the centre of the first voxel; NaN where it is empty."""
    track = np.full((len(masks), 3), NAN)
    for phase, mask in enumerate(masks):
        for axis in range(3):
            others = tuple(a for a in range(3) if a != axis)
            mass = mask.sum(axis=others, dtype=np.int64)
            if mass.any():
                track[phase, axis] = np.average(np.arange(len(mass)), weights=mass) * spacing[axis]
    return track


def excursion(track: Float[np.ndarray, "phase 3"]) -> Float[np.ndarray, " 3"]:
    """Peak to peak along x, y, z in mm, over the phases that have the structure."""
    there = _present(track)
    return np.ptp(there, axis=0) if len(there) else np.full(3, NAN)


def greatest_distance(track: Float[np.ndarray, "phase 3"]) -> float:
    """Largest distance of two phases' centroids in mm."""
    there = _present(track)
    if not len(there):
        return NAN
    return float(np.linalg.norm(there[:, None] - there[None], axis=2).max())


def path_length(track: Float[np.ndarray, "phase 3"], cyclic: bool) -> float:
    """Length of the way through all phases in mm, back to the first if cyclic.

    Phases without the structure are passed over.
    """
    there = _present(track)
    if not len(there):
        return NAN
    ring = np.concatenate([there, there[:1]]) if cyclic else there
    return float(np.linalg.norm(np.diff(ring, axis=0), axis=1).sum())


def hysteresis(track: Float[np.ndarray, "phase 3"], axis: int = 2) -> float:
    """Largest gap between the way out and the way back at equal position along `axis`, mm.

    The two limbs go from the highest to the lowest phase and on from there to the highest, as
    straight lines between phases; the gap is largest at a phase, so it is found exactly. NaN
    without motion along the axis (nothing to compare) and with fewer than 3 phases.
    """
    there = _present(track)
    if len(there) < 3 or np.ptp(there[:, axis]) < 1e-9:
        return NAN
    ring = np.roll(there, -int(np.argmax(there[:, axis])), axis=0)
    ring = np.concatenate([ring, ring[:1]])
    turn = int(np.argmin(ring[:, axis]))
    limbs = ring[: turn + 1], ring[turn:]
    gaps = [
        np.linalg.norm(a - b)
        for level in np.unique(ring[:, axis])
        for a in _crossings(limbs[0], axis, float(level))
        for b in _crossings(limbs[1], axis, float(level))
    ]
    return float(max(gaps))


def volume_variation(masks: Bool[np.ndarray, "phase x y z"]) -> float:
    """Coefficient of variation of the volume over phases (not for lungs: they do change)."""
    sizes = masks.sum(axis=(1, 2, 3), dtype=np.int64)
    return float(sizes.std() / sizes.mean()) if sizes.any() else NAN


def consistency(masks: Bool[np.ndarray, "phase x y z"], cyclic: bool) -> float:
    """Mean Dice of neighbouring phases; pairs of two empty phases are left out."""
    sizes = masks.sum(axis=(1, 2, 3), dtype=np.int64)
    pairs = list(pairwise(range(len(masks))))
    if cyclic and len(masks) > 2:
        pairs.append((len(masks) - 1, 0))
    scores = [
        2 * int(np.count_nonzero(masks[a] & masks[b])) / int(sizes[a] + sizes[b])
        for a, b in pairs
        if sizes[a] + sizes[b]
    ]
    return float(np.mean(scores)) if scores else NAN


def margins(
    target: Bool[np.ndarray, "x y z"], reference: Bool[np.ndarray, "x y z"], spacing: Spacing
) -> dict[str, float]:
    """How far a target volume reaches beyond the reference phase along +-x, +-y, +-z, mm.

    Keys "margin_x+" .. "margin_z-"; NaN if either is empty. In RAS +x is right, +y front, +z up.
    """
    ends = [_extent(mask, spacing) for mask in (target, reference)]
    found: dict[str, float] = {}
    for axis, name in enumerate(AXES):
        found[f"margin_{name}+"] = float(ends[0][axis, 1] - ends[1][axis, 1])
        found[f"margin_{name}-"] = float(ends[1][axis, 0] - ends[0][axis, 0])
    return found


def describe_motion(
    masks: Bool[np.ndarray, "phase x y z"], spacing: Spacing, cyclic: bool
) -> dict[str, float]:
    """All figures of one structure's motion; NaN where the structure is in no phase.

    Keys: excursion_x_mm, excursion_y_mm, excursion_z_mm, max_distance_mm, path_mm, hysteresis_mm
    (NaN for amplitude bins, which have no two limbs), volume_cv, consistency, phases_present.
    """
    track = centroid_track(masks, spacing)
    peaks = excursion(track)
    return {f"excursion_{name}_mm": float(peaks[i]) for i, name in enumerate(AXES)} | {
        "max_distance_mm": greatest_distance(track),
        "path_mm": path_length(track, cyclic),
        "hysteresis_mm": hysteresis(track) if cyclic else NAN,
        "volume_cv": volume_variation(masks),
        "consistency": consistency(masks, cyclic),
        "phases_present": float(len(_present(track))),
    }


def _present(track: np.ndarray) -> np.ndarray:
    there: np.ndarray = track[np.isfinite(track).all(axis=1)]
    return there


def _crossings(limb: np.ndarray, axis: int, level: float) -> list[np.ndarray]:
    """Where a limb (straight lines) passes a level."""
    found = []
    for start, end in pairwise(limb):
        low, high = start[axis], end[axis]
        if min(low, high) <= level <= max(low, high):
            share = [0.0, 1.0] if low == high else [(level - low) / (high - low)]
            found += [start + s * (end - start) for s in share]
    return found


def _extent(mask: np.ndarray, spacing: Spacing) -> np.ndarray:
    """First and last position of a mask along each axis, mm."""
    ends = np.full((3, 2), NAN)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(mask.any(axis=others))
        if len(where):
            ends[axis] = where[0] * spacing[axis], where[-1] * spacing[axis]
    return ends
