""" "No difference" as a claim: p > 0.05 does not support it, an interval inside a margin does."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float

from salearn.stats.refuse import check_enough, check_unit
from salearn.stats.result import Result

MARGIN = 0.01  # Dice


def _t(differences: np.ndarray, test: str, unit: str) -> tuple[float, float, int]:
    """Mean, standard error and degrees of freedom of paired differences."""
    check_unit(test, unit)
    check_enough(test, len(differences), 2, unit)
    if not np.isfinite(differences).all():
        raise ValueError(f"{test} needs finite differences; leave out and count undefined pairs")
    error = float(np.std(differences, ddof=1)) / math.sqrt(len(differences))
    return float(np.mean(differences)), error, len(differences) - 1


def _one_sided(mean: float, error: float, df: int, bound: float) -> tuple[float, float]:
    """t and p of "the mean is at most `bound`" against "it is greater"."""
    from scipy.stats import t

    if error == 0:
        return math.copysign(math.inf, mean - bound), float(mean <= bound)
    statistic = (mean - bound) / error
    return statistic, float(t.sf(statistic, df))


def tost(
    differences: Float[np.ndarray, " unit"],
    *,
    unit: str,
    margin: float = MARGIN,
    alpha: float = 0.05,
) -> Result:
    """Two one-sided t-tests (Schuirmann 1987): is the mean difference inside (-margin, margin)?

    p < alpha exactly when the (1 - 2 alpha) t-interval, which the result carries, lies inside.

    Raises:
        RefusedTest: the unit is a part of an image, or there are fewer than 2 units.
        ValueError: a difference is not finite, or the margin is not positive.
    """
    from scipy.stats import t

    if margin <= 0:
        raise ValueError(f"an equivalence margin must be positive, got {margin}")
    mean, error, df = _t(differences, "TOST", unit)
    above, p_above = _one_sided(mean, error, df, -margin)
    below, p_below = _one_sided(-mean, error, df, -margin)
    reach = float(t.ppf(1 - alpha, df)) * error
    p = max(p_above, p_below)
    return Result(
        name=f"TOST, margin {margin:g}",
        statistic=min(above, below),
        p_value=p,
        n_units=df + 1,
        unit=unit,
        interval=(mean - reach, mean + reach),
        estimate=mean,
        note=f"{100 * (1 - 2 * alpha):g} % interval; "
        + ("equivalent" if p < alpha else "equivalence not shown")
        + f" within {margin:g}.",
        details={"p_above_minus_margin": p_above, "p_below_margin": p_below},
    )


def non_inferior(
    differences: Float[np.ndarray, " unit"],
    *,
    unit: str,
    margin: float = MARGIN,
    alpha: float = 0.05,
) -> Result:
    """One-sided t-test of "the mean difference is above -margin"; margin 0 tests superiority.

    The interval is one-sided: (lower 1 - alpha bound, inf).

    Raises:
        RefusedTest: the unit is a part of an image, or there are fewer than 2 units.
        ValueError: a difference is not finite, or the margin is negative.
    """
    from scipy.stats import t

    if margin < 0:
        raise ValueError(f"a margin must not be negative, got {margin}")
    mean, error, df = _t(differences, "non-inferiority test", unit)
    statistic, p = _one_sided(mean, error, df, -margin)
    return Result(
        name=f"non-inferiority, margin {margin:g}",
        statistic=statistic,
        p_value=p,
        n_units=df + 1,
        unit=unit,
        interval=(mean - float(t.ppf(1 - alpha, df)) * error, math.inf),
        estimate=mean,
    )
