"""ProbCover: balls of one radius around the picks that hold as many units as possible."""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Float

from salearn.cases import Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.features.index import spherical_kmeans
from salearn.settings import Field, settings
from strategies.balls import Balls, radius
from strategies.lazy import maximise
from strategies.registry import register
from strategies.scene import Scene, SceneSettings, look

log = logging.getLogger(__name__)


@register("probcover")
@settings
class ProbCover(SceneSettings):
    """Greedy maximum coverage: the next ball holds the most units that no ball holds yet.

    A ball of radius delta is pure if all of it has the pseudo-label (k-means cluster) of its
    centre; delta is the largest radius at which `purity` of the balls are pure. Covered = within
    delta of a labeled or picked unit. Once all is covered the rest of a batch is drawn.

    Attributes:
        delta: Euclidean distance of unit vectors (0..2); None = by purity.
        purity: share of pure balls.
        classes: number of pseudo-labels (the paper's number of classes does not exist for slices).
        rows: larger pools are represented by so many units, drawn by the seed.
    """

    SOURCE = "ProbCover (Yehuda et al., NeurIPS 2022); pseudo-label count: ours"

    delta: float | None = Field(default=None, gt=0, le=2)
    purity: float = Field(default=0.95, gt=0, le=1)
    classes: int = Field(default=20, ge=1)
    rows: int = Field(default=20_000, ge=100)

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily; scores are newly covered shares of the pool, 0..1."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = look(pool, evidence, self.index)
        rows = self._sample(seen, n, rng)
        z = seen.z[rows]
        known = seen.labeled_z[:]
        cosine = self._cosine(z, rng)
        balls = Balls(z, known, cosine)
        return seen.answer(maximise(balls, n, rows, len(seen.units), self.limits(seen), rng))

    def _sample(self, seen: Scene, n: int, rng: np.random.Generator) -> np.ndarray:
        """All rows, or as many as are allowed and fit: the balls take rows^2 / 8 bytes."""
        room = min(self.rows, int((2 * self.index.memory) ** 0.5))
        if len(seen.units) <= room:
            return np.arange(len(seen.units))
        log.info("probcover: %d of %d units stand for all", max(room, n), len(seen.units))
        return np.sort(rng.choice(len(seen.units), max(room, n), replace=False))

    def _cosine(self, z: Float[np.ndarray, "row dim"], rng: np.random.Generator) -> float:
        """The cosine that belongs to delta: d^2 = 2 - 2 cosine."""
        if self.delta is not None:
            return 1 - self.delta**2 / 2
        _, label = spherical_kmeans(z, min(self.classes, len(z)), int(rng.integers(2**31)))
        found = radius(z, label, self.purity, rng)
        log.info("probcover: delta %.3f (cosine %.4f)", (2 - 2 * found) ** 0.5, found)
        return found
