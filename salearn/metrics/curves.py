"""What an annotation-budget curve says as one number."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

Numbers = Sequence[float | int]


def aubc(values: Numbers, costs: Numbers | None = None, log: bool = False) -> float:
    """Area under the budget curve by trapezoids, over the length of its axis.

    A constant curve gives its value, and so does a single point. NaN if a value is NaN.

    Args:
        values: the metric after each round.
        costs: what had been spent by then, rising; None = the loop axis, where rounds are evenly
            spaced (nnActive's AUBC).
        log: take the logarithm of the costs first (doubling budgets are then evenly spaced).

    Raises:
        ValueError: no values, lengths that differ, or costs that do not rise.
    """
    x = _axis(len(values), costs, log)
    if len(values) == 1:
        return float(values[0])
    return float(np.trapezoid(np.asarray(values, dtype=float), x) / (x[-1] - x[0]))


def _axis(n: int, costs: Numbers | None, log: bool) -> np.ndarray:
    x = np.arange(n, dtype=float) if costs is None else np.asarray(costs, dtype=float)
    if n == 0 or len(x) != n:
        raise ValueError(f"a curve needs one cost for each value, got {len(x)} and {n} values")
    if (np.diff(x) <= 0).any():
        raise ValueError(f"the costs of a curve must rise, got {x.tolist()}")
    if not log:
        return x
    if costs is None or x[0] <= 0:
        raise ValueError(f"a logarithmic axis needs costs above 0, got {costs}")
    return np.asarray(np.log(x))


def normalised_aubc(area: float, zero: float, full: float) -> float:
    """(area - zero) / (full - zero): 0 = no supervision, 1 = full supervision from the start.

    Args:
        zero: value of the metric without any mask.
        full: value of the metric with all masks.

    Raises:
        ValueError: `zero` and `full` are equal.
    """
    if zero == full:
        raise ValueError(f"zero and full supervision have the same value {zero}; nothing to scale")
    return (area - zero) / (full - zero)


def budget_to_target(values: Numbers, costs: Numbers, target: float) -> float | None:
    """The cost at which the curve first reaches `target`, interpolated linearly.

    None when it is never reached (right-censored at the last cost). A curve that starts at or above
    the target gives its first cost, so the answer is then an upper bound. NaN values are skipped.

    Raises:
        ValueError: lengths that differ, or costs that do not rise.
    """
    x = _axis(len(values), costs, log=False)
    points = [(float(c), float(v)) for c, v in zip(x, values, strict=True) if v == v]
    if points and points[0][1] >= target:
        return points[0][0]
    for (cost, value), (next_cost, next_value) in pairwise(points):
        if next_value >= target:
            return cost + (target - value) / (next_value - value) * (next_cost - cost)
    return None
