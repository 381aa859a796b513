"""Draws that favour units which show foreground, and show every class alike."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from salearn.cases import Selection, UnitId, best
from salearn.settings import Field, settings


@settings
class PresenceSettings:
    """How much a draw favours foreground.

    Attributes:
        share: of the draws goes to a class drawn evenly and then to a unit that shows it, drawn
            evenly; the others go anywhere.
        min_voxels: a unit shows a class with at least so many voxels of it.
    """

    share: float = Field(default=2 / 3, ge=0, le=1)
    min_voxels: int = Field(default=1, ge=1)

    def weights(self, counts: Float[np.ndarray, "unit class"]) -> Float[np.ndarray, " unit"]:
        """Chance of each unit in one draw, times the number of units (1 = as if at random).

        Args:
            counts: voxels of every foreground class.
        """
        shown: Bool[np.ndarray, "unit class"] = counts >= self.min_voxels
        holders = shown.sum(axis=0)
        seen = shown[:, holders > 0] / holders[holders > 0]
        if not seen.shape[1]:
            return np.ones(len(counts))
        chance: np.ndarray = (1 - self.share) + self.share * seen.mean(axis=1) * len(counts)
        return chance

    def draw(
        self,
        units: Sequence[UnitId],
        counts: Float[np.ndarray, "unit class"],
        n: int,
        rng: np.random.Generator,
    ) -> Selection:
        """n units without replacement, each draw proportional to the weights of who is left.

        Scores are log(weight) + Gumbel noise, whose n largest are such a draw.
        """
        weights = np.maximum(self.weights(counts), 1e-12)  # share 1 leaves nothing for the others
        scores = np.log(weights) + rng.gumbel(size=len(units))
        return best(dict(zip(units, scores.tolist(), strict=True)), n, rng)
