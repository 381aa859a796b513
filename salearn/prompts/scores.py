"""Scores of prompts: Dice after n clicks, clicks to reach a Dice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from salearn.metrics.overlap import Counts


@dataclass(frozen=True)
class ClickCurve:
    """Outcomes after 0, 1, 2, ... clicks on one object of one slice.

    Attributes:
        counts: one entry before the first click and one after each; the last one stays what it is
            if more clicks are asked for (nothing was left to correct).
    """

    counts: tuple[Counts, ...]

    def after(self, clicks: int) -> Counts:
        """The outcome after so many clicks."""
        return self.counts[min(clicks, len(self.counts) - 1)]

    def clicks_to(self, dice: float) -> int | None:
        """Fewest clicks after which Dice is at least that; None if it never is."""
        reached = [n for n, found in enumerate(self.counts) if found.dice >= dice]
        return reached[0] if reached else None


def plane_counts(
    answer: Bool[np.ndarray, "h w"],
    reference: Bool[np.ndarray, "h w"],
    known: Bool[np.ndarray, "h w"] | None = None,
) -> Counts:
    """Pixels of a slice by outcome; unknown ones count nowhere."""
    known = np.ones_like(reference) if known is None else known
    tp = int((answer & reference & known).sum())
    fp = int((answer & ~reference & known).sum())
    fn = int((~answer & reference & known).sum())
    return Counts(tp=tp, fp=fp, fn=fn, tn=int(known.sum()) - tp - fp - fn)


def number_of_clicks(curves: Sequence[ClickCurve], dice: float, most: int) -> dict[str, float]:
    """NoC@dice: mean clicks to reach it, an object that never does counting as `most`.

    Returns:
        {"noc", "failed": share of the objects that never reached it}; NaN without objects.
    """
    if not curves:
        return {"noc": float("nan"), "failed": float("nan")}
    reached = [curve.clicks_to(dice) for curve in curves]
    clicks = [most if n is None else n for n in reached]
    return {
        "noc": float(np.mean(clicks)),
        "failed": float(np.mean([n is None for n in reached])),
    }
