"""Wilcoxon's signed-rank test, exact also with ties and zeros, and the Hodges-Lehmann interval."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from salearn.stats.refuse import check_enough, check_unit, label_hopeless, sign_flip_floor
from salearn.stats.result import Alternative, Result, tail

Zeros = Literal["drop", "pratt"]
EXACT_UP_TO = 200  # pairs; the exact distribution then takes milliseconds
NAME = "Wilcoxon signed-rank"


def paired_differences(
    first: Float[np.ndarray, " unit"], second: Float[np.ndarray, " unit"]
) -> Float[np.ndarray, " unit"]:
    """first - second; two infinite values (both structures missed) differ by 0.

    Raises:
        ValueError: a value is NaN; leave out and count undefined pairs first.
    """
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("paired values must not be NaN; leave out and count undefined pairs")
    with np.errstate(invalid="ignore"):
        return np.where(first == second, 0.0, first - second)


def wilcoxon(
    differences: Float[np.ndarray, " unit"],
    *,
    unit: str,
    alternative: Alternative = "two-sided",
    zeros: Zeros = "drop",
    level: float = 0.95,
) -> Result:
    """Wilcoxon's signed-rank test of paired differences: is their distribution symmetric about 0?

    Up to 200 pairs the p-value is exact: the distribution of W+ over all sign flips of the average
    ranks, ties and zeros or not (scipy's exact method assumes neither). Beyond, scipy's normal
    approximation with tie correction. Infinite differences get the largest ranks. Estimate and
    interval are Hodges-Lehmann's; with ties the interval is conservative.

    Args:
        zeros: "drop" leaves differences of 0 out; "pratt" ranks them first and leaves them out
            then (Pratt 1959), the sensitivity analysis when many pairs agree exactly.

    Raises:
        RefusedTest: the unit is a part of an image, or there are no pairs.
        ValueError: a difference is NaN.
    """
    check_unit(NAME, unit)
    check_enough(NAME, len(differences), 1, unit)
    if np.isnan(differences).any():
        raise ValueError("differences must not be NaN; leave out and count undefined pairs")
    ranks, positive = _ranks(differences, zeros)
    up, down = float(ranks[positive].sum()), float(ranks[~positive].sum())
    exact = len(ranks) <= EXACT_UP_TO
    p = _exact_p(ranks, up, alternative) if exact else _normal_p(differences, zeros, alternative)
    estimate, interval = hodges_lehmann(differences, level)
    found = Result(
        name=f"{NAME}, {'exact' if exact else 'normal'}, zeros: {zeros}",
        statistic=up,
        p_value=p,
        n_units=len(differences),
        unit=unit,
        interval=interval,
        estimate=estimate,
        floor=sign_flip_floor(len(ranks)) / (1 if alternative == "two-sided" else 2),
        details=_details(differences, ranks, up, down),
    )
    return label_hopeless(found)


def _details(
    differences: np.ndarray, ranks: np.ndarray, up: float, down: float
) -> dict[str, float]:
    return {
        "w_plus": up,
        "w_minus": down,
        "n_effective": float(len(ranks)),
        "zeros": float((differences == 0).sum()),
        "ties": float(len(ranks) - len(np.unique(ranks))),
        "rank_biserial": (up - down) / (up + down) if len(ranks) else 0.0,
    }


def _ranks(differences: np.ndarray, zeros: Zeros) -> tuple[np.ndarray, np.ndarray]:
    """Average ranks of the differences that are not 0, and which of them are positive."""
    from scipy.stats import rankdata

    if zeros == "pratt":
        kept = differences != 0
        return rankdata(np.abs(differences))[kept], differences[kept] > 0
    left = differences[differences != 0]
    return rankdata(np.abs(left)), left > 0


def null_distribution(doubled_ranks: Int[np.ndarray, " n"]) -> Float[np.ndarray, " s"]:
    """Probability of every value of 2 W+ over all sign flips, by convolution."""
    chances = np.ones(1)
    for rank in doubled_ranks:
        grown = np.zeros(len(chances) + int(rank))
        grown[: len(chances)] += chances / 2
        grown[int(rank) :] += chances / 2
        chances = grown
    return chances


def _exact_p(ranks: np.ndarray, up: float, alternative: Alternative) -> float:
    doubled = np.rint(2 * ranks).astype(np.int64)  # average ranks are multiples of 1/2
    chances, at = null_distribution(doubled), round(2 * up)
    return tail(alternative, float(chances[: at + 1].sum()), float(chances[at:].sum()))


def _normal_p(differences: np.ndarray, zeros: Zeros, alternative: Alternative) -> float:
    from scipy import stats

    found = stats.wilcoxon(
        differences,
        zero_method="wilcox" if zeros == "drop" else "pratt",
        alternative=alternative,
        method="approx",
    )
    return float(found.pvalue)


def hodges_lehmann(
    differences: Float[np.ndarray, " unit"], level: float = 0.95
) -> tuple[float, tuple[float, float] | None]:
    """Median of all pairwise means (Walsh averages), and its interval from the signed-rank test.

    The interval has at least the level asked for (Hollander & Wolfe 1999, 3.3); None when there
    are too few pairs for it, or when infinite differences of both signs leave means undefined.
    """
    with np.errstate(invalid="ignore"):
        table = np.add.outer(differences, differences) / 2
    means = np.sort(table[np.triu_indices(len(differences))])
    if np.isnan(means).any():
        return math.nan, None
    estimate = float(np.median(means))
    cut = _cut(len(differences), 1 - level)
    return estimate, (float(means[cut - 1]), float(means[-cut])) if cut else None


def _cut(n: int, alpha: float) -> int:
    """How many Walsh averages from either end the interval starts; 0 = level out of reach."""
    from scipy.stats import norm

    if n > EXACT_UP_TO:
        spread = math.sqrt(n * (n + 1) * (2 * n + 1) / 24)
        return max(1, math.floor(n * (n + 1) / 4 + float(norm.ppf(alpha / 2)) * spread))
    below = np.cumsum(null_distribution(np.arange(1, n + 1)))
    return int(np.searchsorted(below, alpha / 2, side="right"))
