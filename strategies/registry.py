"""The contract of a query strategy, and how a file becomes one."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from salearn.cases import Pool, Selection
from salearn.evidence import Evidence
from salearn.registry import Registry


@runtime_checkable
class Strategy(Protocol):
    """A frozen settings class; its fields are what a config may set."""

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n of the unlabeled units.

        The answer does not depend on the order of the pool; equal scores are ordered by `rng`.

        Raises:
            ValueError: n is larger than the number of unlabeled units.
        """
        ...


STRATEGIES: Registry[Strategy] = Registry("strategies", "strategy")
register = STRATEGIES.register
available = STRATEGIES.available
build = STRATEGIES.build
