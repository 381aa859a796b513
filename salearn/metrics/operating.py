"""Why Dice falls where AUC does not: a wrong threshold, or a wrong order of the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from salearn.metrics.auc import Scored

GRID = np.round(np.arange(0, 1, 0.01), 2)


@dataclass(frozen=True, kw_only=True)
class OperatingPoints:
    """Mean Dice over images at three thresholds (mask = score > threshold).

    Attributes:
        dice_half: at 0.5.
        threshold_val, dice_val: at the threshold chosen on the source validation set.
        threshold_best, dice_best: at the oracle threshold of this data set, the lowest if tied.
        area_bias: mean of (predicted - reference) / reference area at the validation threshold.
        n_used: images with a reference; the others have no Dice here.
    """

    dice_half: float
    threshold_val: float
    dice_val: float
    threshold_best: float
    dice_best: float
    area_bias: float
    n_used: int

    @property
    def calibration_gap(self) -> float:
        """D(best) - D(val), at least 0 on the grid: what a better threshold would give back."""
        return self.dice_best - self.dice_val


def dice_curve(
    images: Sequence[Scored], thresholds: Float[np.ndarray, " t"] = GRID
) -> tuple[Float[np.ndarray, "image t"], Float[np.ndarray, "image t"]]:
    """Dice and predicted / reference area of every image at every threshold.

    Only images with a reference; the others are NaN.

    Args:
        thresholds: rising.
    """
    rows = [_curve(scores, truth, thresholds) for scores, truth in images]
    return np.stack([dice for dice, _ in rows]), np.stack([area for _, area in rows])


def _curve(
    scores: np.ndarray, truth: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    size = int(truth.sum())
    if not size:
        return np.full(len(thresholds), np.nan), np.full(len(thresholds), np.nan)
    above = _above(scores[truth], thresholds), _above(scores[~truth], thresholds)
    predicted = above[0] + above[1]
    return 2 * above[0] / (predicted + size), predicted / size


def _above(scores: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """How many scores exceed each threshold."""
    ordered = np.sort(scores.astype(np.float64))
    return len(ordered) - np.searchsorted(ordered, thresholds, side="right")


def best_threshold(images: Sequence[Scored]) -> float:
    """The threshold of the grid 0, 0.01 .. 0.99 with the highest mean Dice, the lowest if tied.

    Raises:
        ValueError: no image has a reference.
    """
    return float(GRID[_best(dice_curve(images)[0])])


def _best(dice: np.ndarray) -> int:
    if np.isnan(dice).all():
        raise ValueError("no image has a reference mask: there is no best threshold")
    return int(np.nanmean(dice, axis=0).argmax())


def operating_points(images: Sequence[Scored], threshold_val: float) -> OperatingPoints:
    """Dice at 0.5, at the validation threshold and at this data set's oracle threshold.

    Args:
        images: scores 0..1 and boolean truth of each image.
        threshold_val: `best_threshold` of the source validation set, frozen before the test.

    Raises:
        ValueError: no image has a reference.
    """
    thresholds = np.array(sorted({*GRID.tolist(), 0.5, threshold_val}))
    dice, area = dice_curve(images, thresholds)
    best = _best(dice)
    means, chosen = np.nanmean(dice, axis=0), int(np.searchsorted(thresholds, threshold_val))
    return OperatingPoints(
        dice_half=float(means[np.searchsorted(thresholds, 0.5)]),
        threshold_val=threshold_val,
        dice_val=float(means[chosen]),
        threshold_best=float(thresholds[best]),
        dice_best=float(means[best]),
        area_bias=float(np.nanmean(area[:, chosen]) - 1),
        n_used=int((~np.isnan(dice[:, 0])).sum()),
    )


@dataclass(frozen=True, kw_only=True)
class Dissociation:
    """A drop of Dice from an internal to an external set, taken apart; the three parts add up.

    Attributes:
        drop: D_int(val) - D_ext(val).
        ranking: D_int(best) - D_ext(best), what no threshold can mend.
        calibration: external minus internal calibration gap, what a threshold could.
    """

    drop: float
    ranking: float
    calibration: float


def decompose(internal: OperatingPoints, external: OperatingPoints) -> Dissociation:
    """drop = ranking + calibration."""
    ranking = internal.dice_best - external.dice_best
    calibration = external.calibration_gap - internal.calibration_gap
    return Dissociation(
        drop=internal.dice_val - external.dice_val, ranking=ranking, calibration=calibration
    )
