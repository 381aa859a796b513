"""CLUE: one unit from the middle of each cluster of embeddings that are weighted by doubt."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from salearn.cases import Selection, UnitId, by_rows
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.registry import register
from strategies.scene import has_adapted, rows_of
from strategies.scoring import ColdStart, EntropyValues
from strategies.terms import snap

FLOOR = 1e-6  # a certain unit weighs little, not nothing: a cluster needs members


@register("clue")
@settings
class Clue(EntropyValues, ColdStart):
    """Clustering uncertainty-weighted embeddings: k-means with K = n and weights = entropy.

    From each cluster, heaviest first, the unit nearest to the centre; scores are the cosine to the
    own centre (2 more for who was taken). Embeddings stand for the paper's last features.
    """

    SOURCE = "CLUE (Prabhu et al., ICCV 2021); unit-length encoder embeddings: ours"

    def choose(
        self,
        units: Sequence[UnitId],
        labeled: Sequence[UnitId],
        n: int,
        evidence: Evidence,
        rng: np.random.Generator,
    ) -> Selection:
        """Choose a unit of each of n clusters."""
        weights = np.maximum(self.values(units, labeled, evidence), FLOOR)
        z = rows_of(evidence, units, has_adapted(evidence))
        rows, scores = nearest_to_centres(z, np.where(z.any(axis=1), weights, 0.0), n, rng)
        return by_rows(units, rows, scores)


def nearest_to_centres(
    z: Float[np.ndarray, "unit dim"],
    weights: Float[np.ndarray, " unit"],
    n: int,
    rng: np.random.Generator,
) -> tuple[list[int], Float[np.ndarray, " unit"]]:
    """n rows, one a cluster as far as there are clusters, and everybody's score.

    Where rows are equal there are fewer clusters than asked for: second, third, ... rows of the
    clusters follow in turns. Rows of weight 0 (blank units) come last.
    """
    seen = np.flatnonzero(weights > 0)
    scores, turn = np.full(len(z), -1.0), np.full(len(z), len(z))
    mass = np.zeros(len(z))
    if n and seen.size:
        centres, cell = _weighted_kmeans(z[seen], weights[seen], min(n, seen.size), rng)
        scores[seen] = snap(np.einsum("ud,ud->u", z[seen], centres[cell]))
        mass[seen] = np.bincount(cell, weights[seen])[cell]
        order = rng.permutation(seen.size)
        for code in np.unique(cell):
            members = np.flatnonzero(cell == code)
            best = members[np.lexsort((order[members], -scores[seen[members]]))]
            turn[seen[best]] = np.arange(len(best))
    rows = np.lexsort((rng.permutation(len(z)), -snap(mass), turn))[:n].tolist()
    scores[rows] += 2
    return rows, scores


def _weighted_kmeans(
    z: np.ndarray, weights: np.ndarray, k: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centres of unit length and the cluster of each row."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    from salearn.features.index import unit_rows

    with threadpool_limits(1), warnings.catch_warnings():
        # equal rows leave fewer distinct points than centres: harmless here
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = KMeans(k, n_init=1, random_state=int(rng.integers(2**31)))
        cell = model.fit_predict(z, sample_weight=weights)
    return unit_rows(model.cluster_centers_), cell
