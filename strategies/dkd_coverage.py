"""DKD by coverage: represent the units that pre-training did not know, with few picks."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.coverage import cover_greedily
from strategies.divergence import DivergenceSettings, NoiseSettings, survey
from strategies.registry import register


@register("dkd_coverage")
@settings
class DkdCoverage(DivergenceSettings, NoiseSettings):
    """Facility location weighted by the knowledge gap: the robust form of DKD at tiny budgets.

    Maximises F(S) = sum_u w_u max over labeled and picked j of max(0, cosine(u, j)) with w_u =
    lambda0 + (1 - lambda0) g_u, by lazy greedy (at least 1 - 1/e of the best). ASFDA-style
    reconstruction: arXiv 2509.10784 publishes no equations.

    Attributes:
        coverage_neighbours: units that may represent a unit, among so many and one drawn units of
            the pool (all, if there are no more).
    """

    SOURCE = "ASFDA-style reconstruction (arXiv 2509.10784 gives no equations)"

    coverage_neighbours: int = Field(default=2047, ge=1)

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily; scores are gains in coverage, of picks when they were picked."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = survey(pool, evidence, self)
        weights = self.shaken(self.lambda0 + (1 - self.lambda0) * seen.gap, evidence.round, rng)
        k, limits = self.coverage_neighbours, seen.limits()
        batch = cover_greedily(seen.z, seen.labeled_z, weights, n, k, limits, rng, self.index)
        return seen.answer(batch)
