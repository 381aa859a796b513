"""Probability maps of units: checked, read once, and boiled down to one number a unit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from jaxtyping import Float

from salearn.cases import UnitId
from salearn.settings import Field, settings
from strategies.regions import top_mean, uncertainty

ROUNDING = 1e-2  # probabilities come from float16 and from means over views


def checked(p: np.ndarray, unit: UnitId) -> Float[np.ndarray, "class x y z"]:
    """The map as float32 within 0..1.

    Raises:
        ValueError: it is not finite, not within 0..1, or has no foreground class.
    """
    if p.ndim != 4 or len(p) < 2:
        raise ValueError(
            f"probabilities of {unit} must have axes class x y z with background and at least one "
            f"foreground class, got shape {p.shape}"
        )
    if not (np.min(p) >= -ROUNDING and np.max(p) <= 1 + ROUNDING):  # a NaN fails as well
        raise ValueError(f"probabilities of {unit} must be finite and within 0..1")
    clipped: np.ndarray = np.clip(np.asarray(p, dtype=np.float32), 0, 1)
    return clipped


def mutual_information(
    passes: Iterable[Float[np.ndarray, "class x y z"]], unit: UnitId
) -> Float[np.ndarray, "x y z"]:
    """H(mean over passes) - mean over passes of H, in units of log(classes): 0..1 per voxel.

    Only two maps are in memory at a time, however many passes there are.
    """
    total, expected, count = np.zeros(1, np.float32), np.zeros(1, np.float32), 0
    for p in passes:
        p = checked(p, unit)
        total, count = total + p, count + 1
        expected = expected + uncertainty(p, "entropy")
    gain = uncertainty(total / count, "entropy") - expected / count
    information: np.ndarray = np.clip(gain, 0, 1)
    return information


def largest_box_mean(h: Float[np.ndarray, "x y z"], size: tuple[int, int, int]) -> float:
    """Largest mean over a box of `size` voxels that lies within the map (cut to its extent)."""
    means = h.astype(np.float64)
    for axis, side in enumerate(size):
        width = min(side, h.shape[axis])
        windows = np.lib.stride_tricks.sliding_window_view(means, width, axis)
        means = windows.mean(axis=-1)
    return float(means.max())


@settings
class AggregateSettings:
    """How the values of voxels become the value of a unit (nnActive aggregates to patches so).

    Attributes:
        aggregate: mean of all voxels; top = mean of the largest `top_share` of them; patch = mean
            of the box of `patch` voxels where it is largest. The mean grows with the size of the
            organ (reference 2.2), the top share hardly.
        top_share: of the voxels.
        patch: size of the box along x, y, z, cut to the unit's extent.
    """

    aggregate: Literal["mean", "top", "patch"] = "mean"
    top_share: float = Field(default=0.05, gt=0, le=1)
    patch: tuple[int, int, int] = (16, 16, 16)

    def aggregated(self, h: Float[np.ndarray, "x y z"]) -> float:
        """One number for a map of voxel values."""
        if self.aggregate == "top":
            return top_mean(h, self.top_share)
        if self.aggregate == "patch":
            return largest_box_mean(h, self.patch)
        return float(h.mean(dtype=np.float64))
