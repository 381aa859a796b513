"""ASD: ask for units whose anatomy is hard to segment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from salearn.cases import UnitId
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.difficulty import DifficultySettings, difficulties, read_units
from strategies.divergence import NoiseSettings
from strategies.registry import register
from strategies.scoring import TopK


@register("asd")
@settings
class Asd(DifficultySettings, NoiseSettings, TopK):
    """Anatomical Segmentation Difficulty: entropy weighted by foreground in an adaptive region.

    ASFDA-style reconstruction: the source (arXiv 2509.10784) publishes no equations.
    """

    SOURCE = "ASFDA-style reconstruction (arXiv 2509.10784 gives no equations)"

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """ASD of each unit, 0..1."""
        return difficulties(units, labeled, read_units(units, evidence, self), evidence, self)

    def final(
        self, values: Float[np.ndarray, " unit"], round_: int, rng: np.random.Generator
    ) -> Float[np.ndarray, " unit"]:
        """With the noise of `noise`, if it is on."""
        return self.shaken(values, round_, rng)
