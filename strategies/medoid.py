"""Medoid: the unit nearest to each k-means centre."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.features.index import nearest_centre, spherical_kmeans
from salearn.settings import settings
from strategies.cells import visit_cells
from strategies.registry import register
from strategies.scene import SceneSettings, look
from strategies.terms import snap


@register("medoid")
@settings
class Medoid(SceneSettings):
    """k-means with one cluster for each labeled and wanted unit; the unit nearest to the centre.

    K = labeled + n clusters of all units; clusters without a labeled unit first, among those the
    largest first. With nothing labeled this is one unit of each of n clusters. Directions are
    clustered (spherical k-means), and nearest = largest cosine.
    """

    SOURCE = "k-means medoid (ALPS in MedCAL-Bench, 2025); rule for later rounds: ours"

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units; scores are cosines to the own centre, 0 in clusters not visited."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = look(pool, evidence, self.index)
        known = seen.labeled_z[:]
        k = max(1, min(len(known) + n, len(seen.units) + len(known)))
        centres, cell = spherical_kmeans(seen.z, k, int(rng.integers(2**31)), passes=1, also=known)

        def quality(rows: np.ndarray) -> np.ndarray:
            return snap(seen.z[rows] @ centres[cell[rows[0]]])

        where = nearest_centre(known, centres)
        return seen.answer(visit_cells(cell, where, n, quality, self.limits(seen), rng))
