"""Foreground-aware random: a draw that favours units in which the model sees foreground."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from salearn.cases import Selection, UnitId
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.maps import checked
from strategies.presence import PresenceSettings
from strategies.registry import register
from strategies.scoring import ColdStart


@register("foreground_random")
@settings
class ForegroundRandom(PresenceSettings, ColdStart):
    """Two thirds of the draws go to units with predicted foreground, class by class; label-free.

    For volumes that all show every class it is plain random. The version that looks at true masks,
    as nnActive's does, is `foreground_random_oracle`.
    """

    SOURCE = "label-free form of nnActive's random-label (TMLR 2025); predictions for true masks"

    def choose(
        self,
        units: Sequence[UnitId],
        labeled: Sequence[UnitId],
        n: int,
        evidence: Evidence,
        rng: np.random.Generator,
    ) -> Selection:
        """Draw n units."""
        counts = [_voxels(checked(evidence.probabilities(unit), unit)) for unit in units]
        return self.draw(units, np.array(counts), n, rng)


def _voxels(p: np.ndarray) -> np.ndarray:
    """Voxels whose likeliest class is c, for every foreground class."""
    counts: np.ndarray = np.bincount(p.argmax(axis=0).ravel(), minlength=len(p))[1:].astype(float)
    return counts
