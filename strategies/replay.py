"""Replay: ask for given units in a given order, whatever any model says."""

from __future__ import annotations

import numpy as np

from salearn.cases import Pool, Selection, UnitId, check_request
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.registry import register


@register("replay")
@settings
class Replay:
    """The next n units of a list that are not labeled yet.

    In a config `log: FILE or RUN FOLDER` in place of the fields below reads a query log: model A
    is trained on the queries of model B.

    Attributes:
        order: unit ids, first wanted first.
        of: the strategy that made the queries; the arm is called "replay_" + of in reports.
        hashes: of the split that the queries were made for (see salearn.querylog); a run on
            another pool or test set is refused.
    """

    SOURCE = "nnActive's replay arm: model A is trained on the queries of model B"

    order: tuple[str, ...] = ()
    of: str = ""
    hashes: dict[str, str | None] = Field(default_factory=dict)

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
