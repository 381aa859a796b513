"""Facility location: picks that together represent every unit of the pool."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.coverage import cover_greedily
from strategies.registry import register
from strategies.scene import SceneSettings, look


@register("facility")
@settings
class Facility(SceneSettings):
    """Facility location: every unit is represented by the labeled or picked unit nearest to it.

    Maximises F(S) = sum_u max over labeled and picked j of max(0, cosine(u, j)) by lazy greedy (at
    least 1 - 1/e of the best, Nemhauser 1978). A large pool is represented by a drawn part of it.

    Attributes:
        neighbours: units that may represent a unit: its own nearest ones among neighbours + 1
            drawn units of the pool (all, if there are no more).
    """

    SOURCE = "Facility location (Wei, Iyer, Bilmes, ICML 2015); on a sample: ours"

    neighbours: int = Field(default=2047, ge=1)

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily; scores are gains in F, of picks when they were picked."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = look(pool, evidence, self.index)
        limits, weights = self.limits(seen), np.ones(len(seen.units))
        k, labeled = self.neighbours, seen.labeled_z
        return seen.answer(cover_greedily(seen.z, labeled, weights, n, k, limits, rng, self.index))
