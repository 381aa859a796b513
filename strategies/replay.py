"""Replay: ask for given units in a given order, whatever any model says."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, UnitId, check_request
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.registry import register


@register("replay")
@settings
class Replay:
    """The next n units of a list that are not labeled yet.

    Attributes:
        order: unit ids, first wanted first.
    """

    SOURCE = "nnActive's replay arm: model A is trained on the queries of model B"

    order: tuple[str, ...] = ()

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose the next n units of `order`; earlier ones score higher, others 0.

        Raises:
            ConfigError: fewer than n units of `order` are unlabeled units of the pool.
        """
        check_request(pool, n)
        waiting = set(pool.unlabeled)
        ranked = [UnitId(unit) for unit in self.order if unit in waiting]
        if len(ranked) < n:
            raise ConfigError(
                f"strategy.order: {n} units are wanted, but only {len(ranked)} of its "
                f"{len(self.order)} are unlabeled units of this pool; name more units, or check "
                "the split"
            )
        scores = dict.fromkeys(sorted(pool.unlabeled), 0.0)
        scores |= {unit: float(len(ranked) - i) for i, unit in enumerate(ranked)}
        return Selection(unit_ids=tuple(ranked[:n]), scores=scores)
