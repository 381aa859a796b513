"""How large a difference is: effect sizes, to be printed with their intervals beside a p-value."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from jaxtyping import Float

from salearn.stats.bootstrap import Interval, bootstrap_mean, percentile_interval
from salearn.stats.signed_rank import hodges_lehmann


def cohen_dz(differences: Float[np.ndarray, " unit"]) -> float:
    """Mean of paired differences over their standard deviation (Cohen 1988); NaN if that is 0."""
    spread = float(np.std(differences, ddof=1)) if len(differences) > 1 else 0.0
    return float(np.mean(differences)) / spread if spread > 0 else math.nan


def hedges_correction(df: int) -> float:
    """Hedges' (1981) exact factor J(df) that takes the bias out of a standardised difference.

    J = Gamma(df/2) / (sqrt(df/2) Gamma((df-1)/2)), about 1 - 3/(4 df - 1).

    Raises:
        ValueError: fewer than 2 degrees of freedom.
    """
    if df < 2:
        raise ValueError(f"Hedges' correction needs at least 2 degrees of freedom, got {df}")
    return math.exp(math.lgamma(df / 2) - math.lgamma((df - 1) / 2)) / math.sqrt(df / 2)


def hedges_gz(differences: Float[np.ndarray, " unit"]) -> float:
    """Cohen's d_z without its small-sample bias: J(n - 1) d_z."""
    return hedges_correction(len(differences) - 1) * cohen_dz(differences)


def hedges_g(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """Difference of two independent means over the pooled SD, times J(n + m - 2)."""
    df = len(first) + len(second) - 2
    squares = float(np.var(first)) * len(first) + float(np.var(second)) * len(second)
    pooled = math.sqrt(squares / df) if df > 0 else 0.0
    gap = float(np.mean(first) - np.mean(second))
    return hedges_correction(df) * gap / pooled if pooled > 0 else math.nan


def rank_biserial(differences: Float[np.ndarray, " unit"]) -> float:
    """(W+ - W-) / (W+ + W-) of Wilcoxon's signed ranks, -1..1 (Kerby 2014); 0 if all are zero."""
    from scipy.stats import rankdata

    left = differences[differences != 0]
    ranks = rankdata(np.abs(left))
    return float((ranks * np.sign(left)).sum() / ranks.sum()) if len(left) else 0.0


def cliff_delta(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " m"]) -> float:
    """P(first > second) - P(first < second) of independent samples, -1..1 (Cliff 1993)."""
    return float(np.sign(np.subtract.outer(first, second)).mean())


def cohen_g(gained: int, lost: int) -> float:
    """|b / (b + c) - 1/2| of the discordant pairs of McNemar's test (Cohen 1988); NaN if none."""
    return abs(gained / (gained + lost) - 0.5) if gained + lost else math.nan


def paired_effects(
    differences: Float[np.ndarray, " unit"], replicates: int = 2_000, seed: int = 0
) -> dict[str, Interval]:
    """Mean difference, Hodges-Lehmann, d_z and rank-biserial with 95 % intervals.

    Percentile bootstrap over units; Hodges-Lehmann's interval is that of the signed-rank test
    (NaN where there are too few pairs for it).

    Raises:
        ValueError: a difference is not finite, or there are none.
    """
    mean = bootstrap_mean(differences, replicates=replicates, seed=seed)
    n = len(differences)
    drawn = differences[np.random.default_rng(seed).integers(0, n, size=(replicates, n))]
    centre, ends = hodges_lehmann(differences)
    low, high = ends or (math.nan, math.nan)
    centred = replace(mean, estimate=centre, low=low, high=high, method="signed rank")
    found = {"mean difference": mean, "Hodges-Lehmann": centred}
    rows = {"d_z": (cohen_dz, _dz(drawn)), "rank-biserial": (rank_biserial, _biserial(drawn))}
    for name, (measure, values) in rows.items():
        low, high = percentile_interval(values)
        found[name] = replace(mean, estimate=measure(differences), low=low, high=high)
    return found


def _dz(drawn: np.ndarray) -> np.ndarray:
    """d_z of every row; NaN where it has no spread."""
    if drawn.shape[1] < 2:
        return np.full(len(drawn), np.nan)
    spread = drawn.std(axis=1, ddof=1)
    return np.where(spread > 0, drawn.mean(axis=1) / np.where(spread > 0, spread, 1), np.nan)


def _biserial(drawn: np.ndarray) -> np.ndarray:
    """Rank-biserial of every row."""
    from scipy.stats import rankdata

    zeros = (drawn == 0).sum(axis=1, keepdims=True)
    # Zeros hold the lowest ranks; without them every other rank falls by their number.
    ranks = np.where(drawn == 0, 0, rankdata(np.abs(drawn), axis=1) - zeros)
    total = ranks.sum(axis=1)
    return np.where(total > 0, (ranks * np.sign(drawn)).sum(axis=1) / np.maximum(total, 1), 0.0)
