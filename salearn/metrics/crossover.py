"""Where two budget curves cross: four readings of one word, and how sure each of them is.

With no true difference the point estimates of K budgets still "cross" with probability 1 - 2^-K.
So the supported reading decides, and the chance level is printed beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float

from salearn.stats.bootstrap import percentile_interval, percentile_intervals
from salearn.stats.multiplicity import holm
from salearn.stats.resample import bootstrap_p

ROUNDING = 1e-12
MATCH_MARGIN = 0.01  # Dice


@dataclass(frozen=True, kw_only=True)
class Readings:
    """The point readings of a difference curve delta = first arm - second arm.

    Attributes:
        first: smallest budget with delta >= -margin; None if there is none.
        last: largest such budget.
        roots: every change of sign of delta, interpolated in the logarithm of the budget.
    """

    first: float | None
    last: float | None
    roots: tuple[float, ...]


def readings(
    budgets: Sequence[float], delta: Float[np.ndarray, " budget"], margin: float = 0.0
) -> Readings:
    """C_first, C_last and C_root of one curve.

    Raises:
        ValueError: budgets that are not positive and rising, or a margin below 0.
    """
    _check(budgets, len(delta), margin)
    matched = [b for b, d in zip(budgets, delta, strict=True) if d >= -margin - ROUNDING]
    return Readings(
        first=matched[0] if matched else None,
        last=matched[-1] if matched else None,
        roots=_roots(budgets, delta),
    )


def _check(budgets: Sequence[float], n: int, margin: float) -> None:
    rising = all(b > a for a, b in pairwise(budgets))
    if len(budgets) != n or not n or not rising or budgets[0] <= 0:
        raise ValueError(f"need one positive, rising budget for each difference, got {budgets}")
    if margin < 0:
        raise ValueError(f"a margin must not be negative, got {margin}")


def _roots(budgets: Sequence[float], delta: np.ndarray) -> tuple[float, ...]:
    points = list(zip(budgets, delta.tolist(), strict=True))
    # A touch of zero between two values of one sign is no change of sign.
    left = [(b, d) for b, d in points if abs(d) > ROUNDING]
    return tuple(_between(*p, *q, points) for p, q in pairwise(left) if p[1] * q[1] < 0)


def _between(
    b: float, d: float, b_next: float, d_next: float, points: Sequence[tuple[float, float]]
) -> float:
    zero = [x for x, y in points if b < x < b_next and abs(y) <= ROUNDING]
    if zero:
        return zero[0]
    return float(b * (b_next / b) ** (d / (d - d_next)))


@dataclass(frozen=True, kw_only=True)
class Crossover:
    """All readings of a crossover with their uncertainty.

    Attributes:
        budgets: rising.
        delta: first arm minus second at each budget.
        interval: 95 % percentile interval of each delta.
        point: the readings of the estimate.
        p_match: Holm-adjusted one-sided p of "delta <= -margin" at each budget.
        p_superior: the same of "delta <= 0".
        supported: largest budget at which a match is supported (C_supported); None if at none.
        first_shares, last_shares: share of resamples by reading, None = no budget matches.
        last_at_least: P(C_last >= budget) for each budget.
        root_interval: 95 % interval of the last root over the resamples that have one; None if
            fewer than half have.
        root_share: share of resamples with a root.
        seeds: seeds that were resampled.
    """

    budgets: tuple[float, ...]
    delta: tuple[float, ...]
    interval: tuple[tuple[float, float], ...]
    margin: float
    point: Readings
    p_match: tuple[float, ...]
    p_superior: tuple[float, ...]
    supported: float | None
    first_shares: dict[float | None, float]
    last_shares: dict[float | None, float]
    last_at_least: tuple[float, ...]
    root_interval: tuple[float, float] | None
    root_share: float
    seeds: int

    @property
    def chance(self) -> float:
        """1 - 2^-K: how often C_first exists when there is no difference at any budget."""
        return first_match_by_chance(len(self.budgets))

    @property
    def modal_last(self) -> float | None:
        """The most frequent C_last of the resamples."""
        return max(self.last_shares, key=lambda budget: self.last_shares[budget])

    def describe(self) -> str:
        """All readings in words; "crossover" is not said of a single seed."""
        word = "Crossover" if self.seeds > 1 else "Point match (one seed: no crossover claim)"
        roots = ", ".join(f"{root:.4g}" for root in self.point.roots) or "none"
        return (
            f"{word}: first {_say(self.point.first)}, last {_say(self.point.last)} (most frequent "
            f"in resamples: {_say(self.modal_last)}), root {roots}, supported within "
            f"{self.margin:g}: {_say(self.supported)}. {self.seeds} seeds; without any true "
            f"difference a first match appears in {100 * self.chance:.4g} % of studies."
        )


def _say(budget: float | None) -> str:
    return "none" if budget is None else f"{budget:g}"


def first_match_by_chance(num_budgets: int) -> float:
    """1 - 2^-K, the null calibration of C_first with independent budgets."""
    return 1 - 2.0**-num_budgets


def crossover(
    budgets: Sequence[float],
    delta: Float[np.ndarray, " budget"],
    replicates: Float[np.ndarray, "b budget"],
    *,
    seeds: int,
    margin: float = MATCH_MARGIN,
    point_margin: float = 0.0,
    alpha: float = 0.05,
) -> Crossover:
    """Every reading of a difference curve from its bootstrap replicates.

    A match is supported where Holm's one-sided p of "delta <= -margin" over the K budgets is at
    most alpha.

    Args:
        replicates: of delta; seeds and patients resampled jointly for both arms and all budgets
            (`salearn.stats.hierarchical.difference_replicates`).
        seeds: how many draw or train seeds were resampled.
        margin: of the supported match, in units of the metric.
        point_margin: of C_first and C_last.

    Raises:
        ValueError: as `readings`, or replicates of other budgets.
    """
    point = readings(budgets, delta, point_margin)
    _check(budgets, replicates.shape[1], margin)
    drawn = [readings(budgets, row, point_margin) for row in replicates]
    match, superior = budget_p(replicates, -margin), budget_p(replicates, 0.0)
    held = [b for b, p in zip(budgets, match, strict=True) if p <= alpha]
    lows, highs = percentile_intervals(replicates)
    last = [one.last for one in drawn]
    return Crossover(
        budgets=tuple(budgets),
        delta=tuple(delta.tolist()),
        interval=tuple(zip(lows.tolist(), highs.tolist(), strict=True)),
        margin=margin,
        point=point,
        p_match=tuple(match.tolist()),
        p_superior=tuple(superior.tolist()),
        supported=held[-1] if held else None,
        first_shares=_shares(budgets, [one.first for one in drawn]),
        last_shares=_shares(budgets, last),
        last_at_least=tuple(
            float(np.mean([x is not None and x >= b for x in last])) for b in budgets
        ),
        root_interval=_root_interval(drawn),
        root_share=float(np.mean([bool(one.roots) for one in drawn])),
        seeds=seeds,
    )


def budget_p(
    replicates: Float[np.ndarray, "b budget"], null: float
) -> Float[np.ndarray, " budget"]:
    """Holm-adjusted one-sided bootstrap p of "delta <= null" at each budget."""
    p = [bootstrap_p(column, null, "greater") for column in replicates.T]
    return holm(np.array(p))


def _shares(budgets: Sequence[float], found: Sequence[float | None]) -> dict[float | None, float]:
    return {name: found.count(name) / len(found) for name in (*budgets, None)}


def _root_interval(drawn: Sequence[Readings]) -> tuple[float, float] | None:
    roots = [one.roots[-1] for one in drawn if one.roots]
    if len(roots) * 2 < len(drawn):
        return None
    low, high = percentile_interval(np.log(roots))
    return math.exp(low), math.exp(high)
