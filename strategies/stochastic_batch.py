"""Stochastic batches: of many random groups, take the one with the largest summed value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from salearn.cases import Selection, UnitId, by_rows
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.registry import register
from strategies.scoring import ColdStart, scorer_of


@register("stochastic_batch")
@settings
class StochasticBatch(ColdStart):
    """argmax over random groups B of n units of sum_{i in B} value_i, around any scorer.

    A random group is diverse by itself, so the best of many is uncertain and diverse. Scores are
    the values; the group is listed by falling value.

    Attributes:
        scorer: a strategy that values units one by one.
        scorer_settings: its settings.
        groups: how many are drawn.
        axis: slice axis, for a scorer that looks along slices.
    """

    SOURCE = "Gaillochet et al., Medical Image Analysis 2023 (stochastic batches)"

    scorer: str = "entropy"
    scorer_settings: dict[str, Any] = Field(default_factory=dict)
    groups: int = Field(default=1000, ge=1)
    axis: int = Field(default=2, ge=0, le=2)

    def choose(
        self,
        units: Sequence[UnitId],
        labeled: Sequence[UnitId],
        n: int,
        evidence: Evidence,
        rng: np.random.Generator,
    ) -> Selection:
        """Draw the groups and take the best.

        Raises:
            ConfigError: the scorer does not value units one by one.
        """
        where = "stochastic_batch.scorer"
        inner = scorer_of(self.scorer, self.scorer_settings, self.axis, where)
        values = inner.values(units, labeled, evidence)
        rows = self._group(values, n, rng)
        return by_rows(units, rows, values)

    def _group(self, values: np.ndarray, n: int, rng: np.random.Generator) -> list[int]:
        """Rows of the best group, largest value first; the first drawn of equal groups."""
        if not n:
            return []
        drawn = [rng.choice(len(values), n, replace=False) for _ in range(self.groups)]
        rows = max(drawn, key=lambda group: round(float(values[group].sum()), 9))
        return [int(row) for row in rows[np.argsort(-values[rows], kind="stable")]]
