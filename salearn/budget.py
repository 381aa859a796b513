"""The annotation budget, spread over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from math import ceil, floor

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


def even_totals(total: int, size: int, start: int | None = None) -> tuple[int, ...]:
    """Totals from `start` (default: `size`) in steps of `size` to `total`; the last may be smaller.

    Raises:
        ConfigError: a number below 1, or a start beyond the total.
    """
    first = size if start is None else start
    if min(total, size, first) < 1 or first > total:
        raise ConfigError(
            f"budget: 1 <= start <= total and size >= 1 are wanted, got total {total}, size "
            f"{size}, start {first}"
        )
    found = list(range(first, total + 1, size))
    return tuple(found if found[-1] == total else [*found, total])


def resized(totals: Sequence[int], factor: float) -> tuple[int, ...]:
    """The same start set and end with queries of `factor` times the size, 1/m or m times.

    At 1/2 every query becomes two (2, 4, 8 -> 2, 3, 4, 6, 8; a query of one unit stays whole), at
    2 two become one (2, 4, 8, 16 -> 2, 8, 16), so all sizes share budgets at which they compare.
    nnActive's ablation of query sizes: 9 and 3 loops in place of 5.

    Raises:
        ConfigError: the factor is neither a whole number nor one over a whole number.
    """
    whole, parts = round(factor), round(1 / factor)
    if factor >= 1 and abs(factor - whole) < 1e-9:
        kept = (totals[0], *totals[whole::whole]) if whole > 1 else tuple(totals)
        return kept if kept[-1] == totals[-1] else (*kept, totals[-1])
    if abs(1 / factor - parts) > 1e-6:
        raise ConfigError(f"query_size: {factor} is neither m nor 1/m (0.5, 2, ...)")
    found = list(totals[:1])
    for low, high in pairwise(totals):
        steps = min(parts, high - low)
        found += [low + ceil((high - low) * k / steps) for k in range(1, steps + 1)]
    return tuple(found)


def with_start(totals: Sequence[int], units: int) -> tuple[int, ...]:
    """The totals with the start set as the first of them; 0 units = as they are.

    Raises:
        ConfigError: the start set is larger than the first budget.
    """
    if units > totals[0]:
        raise ConfigError(
            f"start.units: {units} units are more than the first budget {totals[0]}; lower it, or "
            "begin `budget` with it"
        )
    return tuple(totals) if units in (0, totals[0]) else (units, *totals)


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

    def new_units(self, num_labeled: int) -> int | None:
        """Units up to the next total, with so many annotated; None once the last is reached.

        Rounds that people were asked in may have annotated more or fewer than the schedule says:
        totals that are reached are passed over.
        """
        rest = [total for total in self.cumulative if total > num_labeled]
        return rest[0] - num_labeled if rest else None

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
