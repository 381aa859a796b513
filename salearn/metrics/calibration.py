"""Do probabilities mean what they say: Brier score and expected calibration error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

BINS = 15


@dataclass(frozen=True, kw_only=True, eq=False)
class Reliability:
    """Sums over voxels by bin of predicted probability; adding pools images.

    Attributes:
        count: voxels in each of equally wide bins of 0..1.
        predicted: sum of their probabilities.
        observed: how many were foreground.
        squared: sum of squared errors over all voxels.
    """

    count: Float[np.ndarray, " bin"]
    predicted: Float[np.ndarray, " bin"]
    observed: Float[np.ndarray, " bin"]
    squared: float

    def __add__(self, other: Reliability) -> Reliability:
        """Both together (micro average)."""
        return Reliability(
            count=self.count + other.count,
            predicted=self.predicted + other.predicted,
            observed=self.observed + other.observed,
            squared=self.squared + other.squared,
        )

    @property
    def brier(self) -> float:
        """Mean of (probability - truth)^2, 0..1 (Brier 1950); NaN without voxels."""
        total = float(self.count.sum())
        return self.squared / total if total else math.nan

    @property
    def ece(self) -> float:
        """Sum over bins of share x |observed frequency - mean probability| (Naeini et al. 2015)."""
        total = float(self.count.sum())
        return float(np.abs(self.observed - self.predicted).sum()) / total if total else math.nan

    @property
    def mce(self) -> float:
        """The largest gap of a bin that holds voxels."""
        used = self.count > 0
        gaps = np.abs(self.observed - self.predicted)[used] / self.count[used]
        return float(gaps.max()) if used.any() else math.nan


def reliability(
    probabilities: Float[np.ndarray, "*size"],
    truth: Bool[np.ndarray, "*size"],
    bins: int = BINS,
) -> Reliability:
    """The reliability of one class's probabilities over the valid voxels of an image.

    Pool images with `+`, or average `ece` over cases; voxels of a background that is certain and
    right pull both numbers to 0, so compare arms on the same voxels (e.g. a box around the organ).

    Raises:
        ValueError: a probability is outside 0..1 or NaN.
    """
    p = probabilities.ravel().astype(np.float64)
    if p.size and not (p.min() >= 0 and p.max() <= 1):
        raise ValueError("calibration needs probabilities in 0..1")
    y = truth.ravel().astype(np.float64)
    which = np.minimum((p * bins).astype(np.int64), bins - 1)
    # Without voxels bincount gives integers, whatever the weights.
    sums = [
        np.bincount(which, weights=w, minlength=bins).astype(np.float64)
        for w in (np.ones_like(p), p, y)
    ]
    return Reliability(
        count=sums[0], predicted=sums[1], observed=sums[2], squared=float(((p - y) ** 2).sum())
    )
