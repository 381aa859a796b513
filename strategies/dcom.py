"""DCoM-like: density while little is covered, doubt once much is, mixed by competence."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Float

from salearn.cases import Pool, Selection, by_rows, check_request
from salearn.evidence import Evidence
from salearn.features.index import IndexSettings, all_neighbours
from salearn.settings import Field, settings
from strategies.registry import register
from strategies.scene import has_adapted, rows_of
from strategies.scoring import MarginValues
from strategies.terms import difficulty_weight, nearest_labeled, snap

log = logging.getLogger(__name__)


@register("dcom")
@settings
class Dcom(MarginValues):
    """score_i(S) = c * m_i + (1 - c) * d_i(S): 1 - margin and density, both scaled to 0..1.

    d_i(S): units within cosine delta of i that nothing labeled or picked covers; greedy. c is the
    logistic competence s(C)/s(1) of the covered share C, s(x) = 1/(1 + exp(-slope (x - middle))).
    While nothing is trained c = 0. The paper adapts a radius per labeled unit; here one delta
    serves all: the median cosine of a unit to its `neighbours`-th neighbour.

    Attributes:
        slope, middle: of the competence.
        neighbours: k of delta; at most 2 k neighbours of a unit are counted in its density.
        index: how neighbours are searched.
    """

    SOURCE = "DCoM (Mishal & Weinshall, arXiv 2407.01804); reconstruction with one radius"

    slope: float = Field(default=30.0, gt=0)
    middle: float = Field(default=0.9, ge=0, le=1)
    neighbours: int = Field(default=20, ge=1)
    index: IndexSettings = IndexSettings()

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily; works from round 0 on, by density alone."""
        check_request(pool, n)
        units, labeled = sorted(pool.unlabeled), sorted(pool.labeled)
        if not units:
            return Selection(unit_ids=(), scores={})
        adapted = has_adapted(evidence)
        z = rows_of(evidence, units, adapted)
        known = rows_of(evidence, labeled, adapted) if labeled else z[:0]
        balls = Near(z, nearest_labeled(z, known), self.neighbours, self.index)
        c, doubt = 0.0, np.zeros(len(units))
        if evidence.trained:
            c = difficulty_weight(balls.share, 1.0, self.slope, self.middle)
            doubt = _scaled(self.values(units, labeled, evidence))
        log.info("dcom: covered %.3f, competence %.3f", balls.share, c)
        rows, scores = _greedy(balls, c, doubt, n, rng)
        return by_rows(units, rows, scores)


class Near:
    """Which units lie within cosine delta of which, as far as a neighbour search sees (sparse).

    Blank units (zero rows) lie near nothing, themselves included.

    Attributes:
        delta: median cosine of a unit to its k-th neighbour; of 2 k neighbours those count that
            are as near.
        share: of the units that are within delta of a labeled one.
    """

    def __init__(self, z: np.ndarray, nearest: np.ndarray, k: int, index: IndexSettings) -> None:
        from scipy.sparse import csr_array

        self.blank = ~z.any(axis=1)
        seen = np.flatnonzero(~self.blank)
        self.delta, source, target = 1.0, seen, seen
        if len(seen) > 1:
            similarity, rows = all_neighbours(z[seen], min(2 * k, len(seen) - 1), index)
            similarity = snap(similarity)
            self.delta = float(np.median(similarity[:, min(k, len(seen) - 1) - 1]))
            near = (similarity >= self.delta) & (rows >= 0)
            source = np.concatenate([seen, seen[np.nonzero(near)[0]]])
            target = np.concatenate([seen, seen[rows[near]]])
        ones = np.ones(len(source), dtype=np.float32)
        made = csr_array((ones, (source, target)), shape=(len(z), len(z)))
        self.near = made.maximum(made.T).tocsr()  # near is mutual
        covered = snap(nearest) >= self.delta
        self.share = float(covered.mean())
        self.uncovered = (~covered).astype(np.float32)

    def density(self) -> Float[np.ndarray, " unit"]:
        """Uncovered units in the ball of each unit."""
        counts: np.ndarray = self.near @ self.uncovered
        return counts.astype(np.float64)

    def cover(self, row: int) -> None:
        """Everything near the row is covered from now on."""
        start, end = self.near.indptr[row : row + 2]
        self.uncovered[self.near.indices[start:end]] = 0


def _greedy(
    balls: Near, c: float, doubt: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[list[int], np.ndarray]:
    order = rng.permutation(len(doubt))
    largest = max(balls.density().max(), 1.0)
    picks: list[int] = []
    chosen = np.zeros(len(doubt))

    def score() -> np.ndarray:
        # blank units show nothing: last of all, whatever the model says about them
        mixed = snap(c * doubt + (1 - c) * balls.density() / largest)
        return np.where(balls.blank, -1.0, mixed)

    for _ in range(n):
        values = score()
        values[picks] = -np.inf
        tied = np.flatnonzero(values == values.max())
        row = int(tied[order[tied].argmin()])
        chosen[row] = values[row]
        picks.append(row)
        balls.cover(row)
    final = score()
    final[picks] = chosen[picks]
    return picks, final


def _scaled(values: Float[np.ndarray, " unit"]) -> Float[np.ndarray, " unit"]:
    """Min-max scaled to 0..1; equal values give 0."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.zeros(len(values))
