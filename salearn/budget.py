"""The annotation budget, spread over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import floor

from salearn.errors import ConfigError


def totals(budget: Sequence[int | float], num_units: int) -> tuple[int, ...]:
    """Budgets as numbers of units: whole numbers stand, shares (0..1] are of `num_units`.

    A share b of n units is max(1, floor(n b + 0.5)), so the smallest budget is one unit.

    Raises:
        ConfigError: a share outside 0..1.
    """
    strange = [b for b in budget if isinstance(b, float) and not 0 < b <= 1]
    if strange:
        raise ConfigError(f"budget: {strange[0]} is neither a whole number nor a share in (0, 1]")
    return tuple(max(1, floor(num_units * b + 0.5)) if isinstance(b, float) else b for b in budget)


@dataclass(frozen=True)
class Schedule:
    """How many new units are annotated in each round; round 0 is the cold start.

    Raises:
        ConfigError: a round without new units, or no round at all.
    """

    per_round: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.per_round or min(self.per_round) < 1:
            raise ConfigError(f"budget: every round must annotate >= 1 unit, got {self.per_round}")

    @property
    def total(self) -> int:
        """All units that will be annotated."""
        return sum(self.per_round)

    @property
    def cumulative(self) -> tuple[int, ...]:
        """Annotated units at the end of each round."""
        return tuple(accumulate(self.per_round))

    @classmethod
    def of_totals(cls, totals: tuple[int, ...]) -> Schedule:
        """From budgets as a curve states them, e.g. (1, 2, 4, 8): strictly rising totals."""
        if not totals:
            raise ConfigError("budget: name at least one number of annotated units, e.g. [1, 2, 4]")
        if totals[0] < 1 or any(b <= a for a, b in pairwise(totals)):
            raise ConfigError(f"budget: totals must rise strictly from >= 1, got {list(totals)}")
        return cls((totals[0], *(b - a for a, b in pairwise(totals))))

    @classmethod
    def even(cls, total: int, rounds: int) -> Schedule:
        """`total` units over `rounds` rounds, the earlier rounds taking what does not divide."""
        if rounds < 1 or total < rounds:
            raise ConfigError(f"budget: {total} units cannot be spread over {rounds} rounds")
        share, rest = divmod(total, rounds)
        return cls(tuple(share + (k < rest) for k in range(rounds)))
