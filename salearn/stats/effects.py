"""How large a difference is: effect sizes, to be printed with their intervals beside a p-value."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from salearn.stats.bootstrap import Interval
from salearn.stats.resample import cluster_bootstrap
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


PAIRED: dict[str, Callable[[np.ndarray], float]] = {
    "mean difference": lambda d: float(np.mean(d)),
    "Hodges-Lehmann": lambda d: hodges_lehmann(d)[0],
    "d_z": cohen_dz,
    "rank-biserial": rank_biserial,
}


def paired_effects(
    differences: Float[np.ndarray, " unit"], replicates: int = 2_000, seed: int = 0
) -> dict[str, Interval]:
    """Mean difference, Hodges-Lehmann, d_z and rank-biserial with 95 % percentile intervals."""
    return {
        name: cluster_bootstrap(
            lambda rows, measure=measure: measure(differences[rows]),  # type: ignore[misc]
            len(differences),
            replicates=replicates,
            seed=seed,
        )[0]
        for name, measure in PAIRED.items()
    }
