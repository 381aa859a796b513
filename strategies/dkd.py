"""DKD: ask for units far from what pre-training knew and from what is already labeled."""

from __future__ import annotations

from typing import Literal

import numpy as np

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.coverage import cover_greedily
from strategies.divergence import DivergenceSettings, NoiseSettings, survey
from strategies.greedy import greedy, product
from strategies.registry import register


@register("dkd")
@settings
class Dkd(DivergenceSettings, NoiseSettings):
    """Diversified Knowledge Divergence: knowledge gap x diversity x typicality, greedily.

    DKD_i(S) = (lambda0 + (1 - lambda0) g_i) * v_i(S) * rho_i^gamma, with an outlier gate.
    ASFDA-style reconstruction: the source (arXiv 2509.10784) publishes no equations.

    Attributes:
        rule: product (above), or coverage: weighted facility location with w = lambda0 +
            (1 - lambda0) g on a graph of nearest neighbours, the robust choice at tiny budgets.
        coverage_neighbours: neighbours per unit in that graph.
    """

    SOURCE = "ASFDA-style reconstruction (arXiv 2509.10784 gives no equations)"

    rule: Literal["product", "coverage"] = "product"
    coverage_neighbours: int = Field(default=32, ge=1)

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily; scores are DKD (or the gain in coverage)."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = survey(pool, evidence, self)
        limits = seen.limits()
        if self.rule == "product":
            static = self.shaken(seen.static(seen.gap, self.lambda0), evidence.round, rng)
            batch = greedy(seen.z, seen.labeled_z, n, product(static), limits, rng)
        else:
            weights = self.shaken(self.lambda0 + (1 - self.lambda0) * seen.gap, evidence.round, rng)
            k = self.coverage_neighbours
            batch = cover_greedily(seen.z, seen.labeled_z, weights, n, k, limits, rng, self.index)
        return seen.answer(batch)
