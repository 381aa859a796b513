"""DKD: ask for units far from what pre-training knew and from what is already labeled."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.divergence import DivergenceSettings, NoiseSettings, survey
from strategies.greedy import greedy, product
from strategies.registry import register


@register("dkd")
@settings
class Dkd(DivergenceSettings, NoiseSettings):
    """Diversified Knowledge Divergence: knowledge gap x diversity x typicality, greedily.

    DKD_i(S) = (lambda0 + (1 - lambda0) g_i) * v_i(S) * rho_i^gamma, with an outlier gate.
    ASFDA-style reconstruction: the source (arXiv 2509.10784) publishes no equations.
    """

    SOURCE = "ASFDA-style reconstruction (arXiv 2509.10784 gives no equations)"

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily; scores are DKD."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = survey(pool, evidence, self)
        static = self.shaken(seen.static(seen.gap, self.lambda0), evidence.round, rng)
        score, near = product(static), seen.nearest
        return seen.answer(
            greedy(seen.z, seen.labeled_z, n, score, seen.limits(), rng, nearest=near)
        )
