"""More than two arms: Friedman's test, what may follow it, and whether an order of arms holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Literal

import numpy as np
from jaxtyping import Float

from salearn.stats.multiplicity import family
from salearn.stats.refuse import check_enough, check_unit, label_hopeless
from salearn.stats.result import Result
from salearn.stats.signed_rank import paired_differences, wilcoxon

PostHoc = Literal["holm", "nemenyi", "conover"]


def block_ranks(
    values: Float[np.ndarray, "unit arm"], higher_is_better: bool = True
) -> Float[np.ndarray, "unit arm"]:
    """Rank of each arm within each unit, 1 = best, ties share the average rank.

    Raises:
        ValueError: a value is NaN.
    """
    from scipy.stats import rankdata

    if np.isnan(values).any():
        raise ValueError("ranks need all arms of a unit; leave out and count incomplete units")
    return np.asarray(rankdata(-values if higher_is_better else values, axis=1))


def friedman(
    values: Float[np.ndarray, "unit arm"], *, unit: str, higher_is_better: bool = True
) -> Result:
    """Friedman's test that all arms rank alike, chi-square with ties corrected (scipy).

    Kendall's W = chi-square / (n (k - 1)) and Iman & Davenport's (1980) F with its p-value, less
    conservative, are among the details, with the mean ranks. The floor is that of the exact test.

    Raises:
        RefusedTest: the unit is a part of an image, fewer than 2 units or 3 arms.
    """
    from scipy.stats import f, friedmanchisquare

    check_unit("Friedman's test", unit)
    n, k = values.shape
    check_enough("Friedman's test", n, 2, unit)
    check_enough("Friedman's test", k, 3, "arm")
    ranks = block_ranks(values, higher_is_better)
    if (ranks == ranks[:, :1]).all():
        statistic, p = 0.0, 1.0  # every unit ties all arms; scipy divides by 0
    else:
        statistic, p = (float(x) for x in friedmanchisquare(*ranks.T))
    room = n * (k - 1) - statistic
    iman = (n - 1) * statistic / room if room > 1e-9 else math.inf
    found = Result(
        name="Friedman",
        statistic=statistic,
        p_value=p,
        n_units=n,
        unit=unit,
        floor=math.factorial(k) ** -(n - 1.0),
        details={
            "kendall_w": statistic / (n * (k - 1)),
            "iman_davenport_f": iman,
            "iman_davenport_p": float(f.sf(iman, k - 1, (k - 1) * (n - 1))),
            **{f"mean_rank_{arm}": float(rank) for arm, rank in enumerate(ranks.mean(axis=0))},
        },
    )
    return label_hopeless(found)


def post_hoc(
    values: Float[np.ndarray, "unit arm"],
    names: Sequence[str],
    *,
    unit: str,
    method: PostHoc = "holm",
    higher_is_better: bool = True,
) -> dict[tuple[str, str], Result]:
    """Every pair of arms after Friedman; p-values hold for the family of all pairs.

    holm: Wilcoxon of each pair, Holm over the pairs (the default; does not depend on the other
    arms). nemenyi: |R_i - R_j| / sqrt(k (k + 1) / (6 n)) times sqrt(2), studentised range (Demsar
    2006). conover: the same difference over its pooled standard error, studentised range with
    (n - 1)(k - 1) degrees of freedom (Conover 1999, single step); PMCMRplus and scikit-posthocs
    take infinite degrees, which gives smaller p-values.

    Raises:
        RefusedTest: as `friedman`.
        ValueError: not one name for each arm.
    """
    if len(names) != values.shape[1]:
        raise ValueError(f"{len(names)} names for {values.shape[1]} arms")
    friedman(values, unit=unit, higher_is_better=higher_is_better)
    pairs = list(combinations(range(len(names)), 2))
    if method == "holm":
        found = _wilcoxon_pairs(values, pairs, unit)
    else:
        found = _range_pairs(block_ranks(values, higher_is_better), pairs, unit, method)
    return {(names[i], names[j]): result for (i, j), result in zip(pairs, found, strict=True)}


def _wilcoxon_pairs(
    values: np.ndarray, pairs: Sequence[tuple[int, int]], unit: str
) -> list[Result]:
    plain = [wilcoxon(paired_differences(values[:, i], values[:, j]), unit=unit) for i, j in pairs]
    adjusted = family(plain)
    return [
        Result(
            **{
                **vars(result),
                "name": f"{result.name}, Holm",
                "p_value": result.details["p_holm"],
                "details": {**result.details, "p_unadjusted": result.p_value},
            }
        )
        for result in adjusted
    ]


def _range_pairs(
    ranks: np.ndarray, pairs: Sequence[tuple[int, int]], unit: str, method: PostHoc
) -> list[Result]:
    from scipy.stats import studentized_range

    n, k = ranks.shape
    error, df = _rank_error(ranks, method)
    means = ranks.mean(axis=0)
    rows = []
    for i, j in pairs:
        gap = float(means[i] - means[j])
        q = abs(gap) / error if error > 0 else (0.0 if gap == 0 else math.inf)
        p = float(np.clip(studentized_range.sf(q * math.sqrt(2), k, df), 0, 1))
        name = f"{method.capitalize()}"
        rows.append(Result(name=name, statistic=q, p_value=p, n_units=n, unit=unit, estimate=gap))
    return rows


def _rank_error(ranks: np.ndarray, method: PostHoc) -> tuple[float, float]:
    """Standard error of a difference of mean ranks, and its degrees of freedom."""
    n, k = ranks.shape
    if method == "nemenyi":
        return math.sqrt(k * (k + 1) / (6 * n)), math.inf
    squares, sums = float((ranks**2).sum()), ranks.sum(axis=0)
    df = (n - 1) * (k - 1)
    left = max(0.0, squares - float((sums**2).sum()) / n)
    return math.sqrt(2 * left / (n * df)), df


def critical_difference(num_arms: int, num_units: int, alpha: float = 0.05) -> float:
    """Smallest difference of mean ranks that Nemenyi's test calls significant (Demsar 2006)."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(1 - alpha, num_arms, np.inf)) / math.sqrt(2)
    return q * math.sqrt(num_arms * (num_arms + 1) / (6 * num_units))


def rank_agreement(
    internal: Float[np.ndarray, " arm"],
    external: Float[np.ndarray, " arm"],
    internal_replicates: Float[np.ndarray, "b arm"],
    external_replicates: Float[np.ndarray, "b arm"],
) -> Result:
    """Kendall's tau of the order of arms on two data sets, with its bootstrap interval.

    One swap among 4 arms gives tau = 2/3; the exact two-sided p-value is at least 2/k!, so below 5
    arms nothing is significant, which the note then says. tau is NaN if all arms of a side tie.
    """
    from scipy.stats import kendalltau

    from salearn.stats.bootstrap import percentile_interval

    found = kendalltau(internal, external)
    pairs = zip(internal_replicates, external_replicates, strict=True)
    taus = np.array([float(kendalltau(a, b).statistic) for a, b in pairs])
    result = Result(
        name="Kendall's tau",
        statistic=float(found.statistic),
        p_value=float(found.pvalue),
        n_units=len(internal),
        unit="arm",
        interval=percentile_interval(taus),
        estimate=float(found.statistic),
        floor=min(1.0, 2 / math.factorial(len(internal))),
    )
    return label_hopeless(result)
