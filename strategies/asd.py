"""ASD: ask for units whose anatomy is hard to segment."""

from __future__ import annotations

import logging

import numpy as np

from salearn.cases import Pool, Selection, best, check_request
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.difficulty import DifficultySettings, difficulties, read_units
from strategies.divergence import NoiseSettings
from strategies.registry import build, register

log = logging.getLogger(__name__)


@register("asd")
@settings
class Asd(DifficultySettings, NoiseSettings):
    """Anatomical Segmentation Difficulty: entropy weighted by foreground in an adaptive region.

    ASFDA-style reconstruction: the source (arXiv 2509.10784) publishes no equations.

    Attributes:
        cold_start: strategy that chooses while nothing is trained and difficulty is unknown.
    """

    SOURCE = "ASFDA-style reconstruction (arXiv 2509.10784 gives no equations)"

    cold_start: str = "random"

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """The n units of highest ASD (0..1); with no trained model what `cold_start` chooses.

        Raises:
            ConfigError: cold_start is asd itself, or no strategy.
        """
        check_request(pool, n)
        if not evidence.trained:
            return self._cold(pool, n, evidence, rng)
        units, labeled = sorted(pool.unlabeled), sorted(pool.labeled)
        readings = read_units(units, evidence, self)
        values = difficulties(units, labeled, readings, evidence, self)
        values = self.shaken(values, evidence.round, rng)
        return best(dict(zip(units, values.tolist(), strict=True)), n, rng)

    def _cold(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        if self.cold_start == "asd":
            raise ConfigError("asd.cold_start: asd cannot be its own cold start; say e.g. random")
        log.warning("asd: nothing is trained yet, '%s' chooses this round", self.cold_start)
        return build(self.cold_start).select(pool, n, evidence, rng)
