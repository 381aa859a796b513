"""Weighted facility location on a graph of nearest neighbours, by lazy greedy (reconstruction)."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Float, Int

from salearn.features.index import IndexSettings, all_neighbours
from salearn.features.rows import Rows, Vectors, blank_rows, blocks
from strategies.greedy import Batch
from strategies.lazy import maximise
from strategies.limits import Limits
from strategies.terms import nearest_labeled, snap

log = logging.getLogger(__name__)

EDGE_BYTES = 32  # of a neighbour while the graph is made: search, keys, both directions
EDGES = 2**22  # edges whose gains are summed at a time
DIGITS = 9  # gains are compared on this grid, so that the order of a sum never decides


class Reach:
    """Which units a candidate represents, and how well: rows of a sparse cosine graph.

    u counts j among its k nearest: j represents u. Everything represents itself, but for blank
    units (zero rows), which neither represent nor are represented.
    """

    def __init__(self, z: Vectors, k: int, settings: IndexSettings) -> None:
        from scipy.sparse import csr_array

        count = len(z)
        similarity, rows = all_neighbours(z, min(k, count - 1), settings)
        keep = (rows >= 0) & (similarity > 0)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(keep.sum(axis=1))])
        edges = (similarity[keep], rows[keep].astype(np.int32), starts)
        del similarity, rows, keep
        by = csr_array(edges, shape=(count, count)).tocsc()
        self.starts, self.units, self.cosine = by.indptr.astype(np.int64), by.indices, by.data
        self.own = np.where(blank_rows(z), 0.0, 1.0)  # cosine to itself

    def of(self, row: int) -> tuple[Int[np.ndarray, " edge"], Float[np.ndarray, " edge"]]:
        """Units that a row represents, itself first, and the cosines."""
        part = slice(self.starts[row], self.starts[row + 1])
        units = np.concatenate([np.full(1, row, dtype=np.int32), self.units[part]])
        return units, np.concatenate([self.own[row : row + 1], snap(self.cosine[part])])

    def gains(
        self, covered: Float[np.ndarray, " unit"], weights: Float[np.ndarray, " unit"]
    ) -> Float[np.ndarray, " unit"]:
        """What every row would add to the objective: sums over its edges, by blocks."""
        found: np.ndarray = weights * np.maximum(self.own - covered, 0)
        count = len(found)
        for part in blocks(count, max(1, EDGES * count // max(len(self.units), 1))):
            edges = slice(self.starts[part.start], self.starts[part.stop])
            units = self.units[edges]
            more = weights[units] * np.maximum(snap(self.cosine[edges]) - covered[units], 0)
            bounds = self.starts[part.start : part.stop + 1] - edges.start
            some = np.flatnonzero(np.diff(bounds))
            if some.size:
                found[some + part.start] += np.add.reduceat(more, bounds[some])
        return np.round(found, DIGITS)


def cover_greedily(
    z: Float[np.ndarray, "unit dim"] | Rows,
    labeled: Float[np.ndarray, "labeled dim"] | Rows,
    weights: Float[np.ndarray, " unit"],
    n: int,
    k: int,
    limits: Limits,
    rng: np.random.Generator,
    settings: IndexSettings,
    *,
    lazy: bool = True,
) -> Batch:
    """Maximise sum_u w_u * max over labeled and picked j of max(0, cosine(u, j)) greedily.

    Where there are more than k + 1 rows, so many drawn ones are candidates and stand for all, and
    the others score 0; fewer if their graph would take more than half of `settings.memory`. Only
    the k nearest neighbours of u among them can represent it. Monotone and submodular: see
    `strategies.lazy`.
    """
    rows = _sampled(z, n, k, settings, rng)
    part = z if len(rows) == len(z) else z[rows]
    covered = np.maximum(snap(nearest_labeled(part, labeled)), 0.0)
    sum_of_best = Represented(Reach(part, k, settings), covered, weights[rows])
    return maximise(sum_of_best, n, rows, len(z), limits, rng, lazy=lazy)


def _sampled(
    z: Vectors, n: int, k: int, settings: IndexSettings, rng: np.random.Generator
) -> np.ndarray:
    """All rows, or a drawn part: at most k + 1, and as many as leave half of the memory free.

    k neighbours among many more rows see nothing of the pool as a whole: then the picks crowd
    where it is dense. Among a sample of k + 1 rows the graph is complete.
    """
    room = settings.memory // 2
    most = min(k + 1, max(2, int((room / EDGE_BYTES) ** 0.5)))
    if isinstance(z, Rows):
        most = min(most, max(2, room // (8 * z.shape[1])))
    if len(z) <= most:
        return np.arange(len(z))
    size = min(len(z), max(most, n))
    log.info("facility location: %d of %d rows stand for all", size, len(z))
    return np.sort(rng.choice(len(z), size, replace=False))


class Represented:
    """F(S) = sum_u w_u * largest cosine of u to S, as an objective of the lazy greedy rule."""

    def __init__(
        self,
        reach: Reach,
        covered: Float[np.ndarray, " unit"],
        weights: Float[np.ndarray, " unit"],
    ) -> None:
        self.reach, self.covered, self.weights = reach, covered, weights

    def gains(self) -> Float[np.ndarray, " unit"]:
        """What F would gain by each row."""
        return self.reach.gains(self.covered, self.weights)

    def gain(self, row: int) -> float:
        """What F would gain by this row."""
        units, cosine = self.reach.of(row)
        more = np.maximum(cosine - self.covered[units], 0)
        return round(float((self.weights[units] * more).sum()), DIGITS)

    def take(self, row: int) -> None:
        """Add the row to S."""
        units, cosine = self.reach.of(row)
        self.covered[units] = np.maximum(self.covered[units], cosine)
