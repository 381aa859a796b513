"""ClaSP PE: two thirds of a batch by entropy class by class, the rest by entropy, with noise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import Float, Int

from salearn.cases import Selection, UnitId, by_rows
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.maps import AggregateSettings, checked
from strategies.regions import uncertainty
from strategies.registry import register
from strategies.scoring import LEAST, ColdStart
from strategies.terms import beta_at, ranks


@register("clasp")
@settings
class Clasp(AggregateSettings, ColdStart):
    """Class-stratified predictive entropy with power noise.

    Each foreground class c has the map H * p_c, and there is plain H. floor(0.66 n) picks are split
    evenly over the classes (who gets the remainder is drawn), the others go by plain H; all by
    log(aggregate) + Gumbel(0, 1/beta_t). Scores are the best rank (0..1) in any of these lists.

    Attributes:
        class_share: of the batch, split over classes.
        beta: in the first and in the last loop, geometric in between.
        beta_loops: number of loops of that schedule.
    """

    SOURCE = "ClaSP PE (nnActive follow-up, TMLR 2026), written anew from its description"

    class_share: float = Field(default=0.66, ge=0, le=1)
    beta: tuple[float, float] = (1.0, 100.0)
    beta_loops: int = Field(default=5, ge=1)

    def __post_init__(self) -> None:
        if min(self.beta) <= 0:
            raise ConfigError(f"beta must be positive, got {list(self.beta)}")

    def choose(
        self,
        units: Sequence[UnitId],
        labeled: Sequence[UnitId],
        n: int,
        evidence: Evidence,
        rng: np.random.Generator,
    ) -> Selection:
        """Take turns between the lists: each class its share, then plain entropy."""
        columns = self.columns(units, evidence)
        beta = beta_at(evidence.round, self.beta, self.beta_loops)
        noisy = np.log(np.maximum(columns, LEAST)) + rng.gumbel(0, 1 / beta, columns.shape)
        rows = _by_turns(noisy, self.turns(n, columns.shape[1] - 1, rng), rng)
        scores = np.stack([ranks(column) for column in noisy.T]).max(axis=0)
        return by_rows(units, rows, scores)

    def columns(
        self, units: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, "unit column"]:
        """Aggregated H * p_c of every foreground class, and aggregated H as the last column."""
        return np.array([list(self._row(unit, evidence)) for unit in units])

    def _row(self, unit: UnitId, evidence: Evidence) -> Iterator[float]:
        p = checked(evidence.probabilities(unit), unit)
        h = uncertainty(p, "entropy")
        yield from (self.aggregated(h * share) for share in p[1:])
        yield self.aggregated(h)

    def turns(self, n: int, classes: int, rng: np.random.Generator) -> Int[np.ndarray, " pick"]:
        """Which column each pick goes by: classes in a drawn order, then plain entropy."""
        share = int(self.class_share * n + 1e-9)
        order = rng.permutation(classes)
        return np.concatenate([np.resize(order, share), np.full(n - share, classes)])


def _by_turns(
    noisy: Float[np.ndarray, "unit column"],
    turns: Int[np.ndarray, " pick"],
    rng: np.random.Generator,
) -> list[int]:
    """The best row that is left in the column of each turn, ties by `rng`."""
    order = rng.permutation(len(noisy))
    ranked = [iter(np.lexsort((order, -column)).tolist()) for column in noisy.T]
    taken: dict[int, None] = {}
    for column in turns:
        taken[next(row for row in ranked[column] if row not in taken)] = None
    return list(taken)
