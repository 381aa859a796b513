"""A shared start: one strategy chooses the first round for all, another the rounds after it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from salearn.cases import Pool, Selection
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.registry import Strategy


@settings
class StartSettings:
    """`start` of a config: the start set, the same for every strategy under one draw seed.

    Attributes:
        units: size of the start set; 0 = true cold start, each strategy chooses its own.
        strategy: who chooses it.
    """

    units: int = Field(default=0, ge=0)
    strategy: str = "random"


@dataclass(frozen=True)
class Started:
    """`first` answers in round 0, `then` in every later round.

    Round 0 draws from `default_rng([draw seed, 0])` whatever `then` is, so all strategies with one
    draw seed begin with the same units.
    """

    first: Strategy
    then: Strategy

    @property
    def may_stop_early(self) -> bool:
        """Whether a round may take fewer units than it was given."""
        return bool(getattr(self.then, "may_stop_early", False))

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """The answer of whoever is responsible for this round."""
        who = self.first if evidence.round == 0 else self.then
        return who.select(pool, n, evidence, rng)
