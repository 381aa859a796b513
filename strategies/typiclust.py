"""TypiClust: the most typical unit of each of the largest clusters that hold nothing labeled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.features.index import IndexSettings, all_neighbours, nearest_centre, spherical_kmeans
from salearn.features.rows import Rows
from salearn.settings import Field, settings
from strategies.cells import visit_cells
from strategies.registry import register
from strategies.scene import SceneSettings, look
from strategies.terms import snap

EXACT = 4096  # clusters of more units search their neighbours approximately


@register("typiclust")
@settings
class TypiClust(SceneSettings):
    """k-means, then from cluster to cluster the unit of densest surroundings.

    K = min(labeled + n, most) clusters of all units; a pick comes from the cluster with fewest
    labeled and picked units, among those the largest; it has the largest typicality 1 / (mean
    distance to its k nearest neighbours within the cluster). Distances are between unit vectors.

    Attributes:
        most: largest number of clusters.
        least: clusters of fewer units come last (the published code drops five or less).
        neighbours: k, at most half of the cluster.
    """

    SOURCE = "TypiClust (Hacohen, Dekel, Weinshall, ICML 2022)"

    most: int = Field(default=500, ge=1)
    least: int = Field(default=6, ge=1)
    neighbours: int = Field(default=20, ge=1)

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units; scores are typicalities within the clusters that were visited, else 0."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = look(pool, evidence, self.index)
        known = seen.labeled_z[:]
        k = max(1, min(len(known) + n, self.most, len(seen.units) + len(known)))
        centres, cell = spherical_kmeans(seen.z, k, int(rng.integers(2**31)), passes=1, also=known)

        def quality(rows: np.ndarray) -> np.ndarray:
            return typicality(seen.z, rows, self.neighbours, self.index)

        where, limits = nearest_centre(known, centres), self.limits(seen)
        return seen.answer(visit_cells(cell, where, n, quality, limits, rng, least=self.least))


def typicality(
    z: Float[np.ndarray, "unit dim"] | Rows, rows: np.ndarray, k: int, index: IndexSettings
) -> Float[np.ndarray, " asked"]:
    """1 / mean distance of some rows to their k nearest among them; k at most half of them."""
    k = min(k, len(rows) // 2)
    if k < 1:
        return np.ones(len(rows))
    given = replace(index, exact_rows=min(index.exact_rows, EXACT))
    cosine, found = all_neighbours(z[rows], k, given)
    distance = np.where(found >= 0, np.sqrt(2 - 2 * snap(cosine)), 0).sum(axis=1)
    value: np.ndarray = 1 / (distance / np.maximum((found >= 0).sum(axis=1), 1) + 1e-5)
    return value
