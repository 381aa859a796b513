"""CoreSet: k-center greedy, each pick the unit farthest from everything covered."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.greedy import greedy, product
from strategies.registry import register
from strategies.scene import SceneSettings, look


@register("coreset")
@settings
class CoreSet(SceneSettings):
    """k-center greedy: the next pick is the unit farthest from all labeled and picked ones.

    Farthest = smallest largest cosine, which on unit vectors is the largest distance. With nothing
    labeled the first pick is drawn. It asks for outliers first (a third to a half of a batch in the
    toy of the selection notes); `gate: 0.05` keeps the least typical ones for last.
    """

    SOURCE = "CoreSet, its greedy form (Sener & Savarese, ICLR 2018)"

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily; scores are v = (1 - largest cosine to what is covered) / 2."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = look(pool, evidence, self.index)
        score = product(np.where(seen.blank, 0.0, 1.0))
        return seen.answer(greedy(seen.z, seen.labeled_z, n, score, self.limits(seen), rng))
