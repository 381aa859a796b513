"""Success or failure of each case: McNemar's tests, and intervals of one proportion."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Bool

from salearn.stats.effects import cohen_g
from salearn.stats.refuse import check_enough, check_unit, label_hopeless
from salearn.stats.result import Result

Variant = Literal["exact", "mid-p", "corrected", "uncorrected"]
ENOUGH_DISCORDANT = 25  # below, the chi-square distribution is not used


def mcnemar(
    first: Bool[np.ndarray, " unit"],
    second: Bool[np.ndarray, " unit"],
    *,
    unit: str,
    variant: Variant = "exact",
) -> Result:
    """McNemar's test of two arms' successes (e.g. Dice >= 0.7) on the same units.

    Raises:
        RefusedTest: the unit is a part of an image, or there are no units.
    """
    both = int((first & second).sum())
    gained, lost = int((first & ~second).sum()), int((~first & second).sum())
    return mcnemar_counts(
        both, gained, lost, len(first) - both - gained - lost, unit=unit, variant=variant
    )


def mcnemar_counts(
    both: int, gained: int, lost: int, neither: int, *, unit: str, variant: Variant = "exact"
) -> Result:
    """McNemar's test from its table (both, first only = b, second only = c, neither).

    exact: min(1, 2 P(Binomial(b + c, 1/2) <= min(b, c))); mid-p: minus the point probability
    (Fagerland et al. 2013); corrected: (|b - c| - 1)^2 / (b + c); uncorrected: (b - c)^2 / (b + c).
    Estimate: (b - c) / n with Agresti & Min's (2005) 95 % interval.

    Raises:
        RefusedTest: the unit is a part of an image, or there are no units.
    """
    check_unit("McNemar's test", unit)
    n, discordant = both + gained + lost + neither, gained + lost
    check_enough("McNemar's test", n, 1, unit)
    statistic, p = mcnemar_p(gained, lost, variant)
    exact_floor = min(1.0, 2.0 ** (1 - discordant))
    floor = {"exact": exact_floor, "mid-p": exact_floor / 2}.get(variant, 0.0)
    found = Result(
        name=f"McNemar, {variant}",
        statistic=statistic,
        p_value=p,
        n_units=n,
        unit=unit,
        interval=difference_interval(gained, lost, n),
        estimate=(gained - lost) / n,
        floor=floor,
        details={
            "gained": gained,
            "lost": lost,
            "odds_ratio": gained / lost if lost else math.nan,
            "cohen_g": cohen_g(gained, lost),
        },
    )
    rough = variant in ("corrected", "uncorrected") and discordant < ENOUGH_DISCORDANT
    warning = f"Chi-square is rough below {ENOUGH_DISCORDANT} discordant pairs: take the exact p."
    return label_hopeless(found.noted(warning) if rough else found)


def mcnemar_p(gained: int, lost: int, variant: Variant) -> tuple[float, float]:
    """Statistic (the smaller count, or chi-square) and two-sided p-value of discordant counts."""
    from scipy.stats import binom, chi2

    n, smaller = gained + lost, min(gained, lost)
    if n == 0:
        return 0.0, 1.0
    if variant in ("exact", "mid-p"):
        point = float(binom.pmf(smaller, n, 0.5)) if variant == "mid-p" else 0.0
        return float(smaller), min(1.0, 2 * float(binom.cdf(smaller, n, 0.5)) - point)
    gap = max(abs(gained - lost) - (1 if variant == "corrected" else 0), 0)
    return gap**2 / n, float(chi2.sf(gap**2 / n, 1))


def difference_interval(gained: int, lost: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """Interval of (b - c) / n: Wald's with 1/2 added to each cell (Agresti & Min 2005)."""
    from scipy.stats import norm

    b, c, total = gained + 0.5, lost + 0.5, n + 2
    gap = (b - c) / total
    error = math.sqrt(((b + c) / total - gap**2) / total)
    reach = float(norm.ppf((1 + level) / 2)) * error
    return max(-1.0, gap - reach), min(1.0, gap + reach)


def proportion_interval(
    successes: int,
    n: int,
    method: Literal["wilson", "exact"] = "wilson",
    level: float = 0.95,
) -> tuple[float, float]:
    """Interval of a proportion over images: Wilson's score, or Clopper-Pearson ("exact").

    Raises:
        ValueError: counts that are no proportion.
    """
    from scipy.stats import binomtest

    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no proportion")
    found = binomtest(successes, n).proportion_ci(confidence_level=level, method=method)
    return float(found.low), float(found.high)
