"""Random: every unlabeled unit is equally wanted."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, best, check_request
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.registry import register


@register("random")
@settings
class RandomSampling:
    """Units drawn at random without looking at anything; the bar for every other strategy."""

    SOURCE = "uniform sampling without replacement"

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Draw n units; every score is 0, so only `rng` decides."""
        check_request(pool, n)
        return best(dict.fromkeys(pool.unlabeled, 0.0), n, rng)
