"""Bootstrap of any statistic by cluster, and the p-value that a set of replicates supports."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from salearn.stats.bootstrap import (
    FEW_CLUSTERS,
    Interval,
    Method,
    bca_interval,
    percentile_interval,
)
from salearn.stats.result import Alternative, tail

Statistic = Callable[[np.ndarray], float]


def bootstrap_p(
    replicates: Float[np.ndarray, " b"],
    null: float = 0.0,
    alternative: Alternative = "two-sided",
) -> float:
    """P-value of "the statistic is `null`" from its bootstrap replicates.

    Share of replicates on the far side of `null`, (1 + count) / (1 + B), so never 0 (Davison &
    Hinkley 1997, 4.2); two-sided = twice the smaller share: p <= alpha where the percentile
    interval excludes `null`.
    """
    total = 1 + len(replicates)
    less = float(1 + np.sum(replicates >= null)) / total
    greater = float(1 + np.sum(replicates <= null)) / total
    return tail(alternative, less, greater)


def cluster_bootstrap(
    statistic: Statistic,
    num_units: int,
    clusters: Int[np.ndarray, " unit"] | None = None,
    method: Method = "percentile",
    replicates: int = 2_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[Interval, Float[np.ndarray, " b"]]:
    """Interval and replicates of any statistic (a median, an AUC, a ratio); clusters resampled.

    Replicates in which the statistic is NaN are left out. For a mean use
    `salearn.stats.bootstrap.bootstrap_mean`, which needs no loop.

    Args:
        statistic: takes the indices of the units in a resample (repeated as drawn).
        clusters: the cluster of each unit; None = every unit is its own.

    Raises:
        ValueError: there are no units.
    """
    if num_units < 1:
        raise ValueError("nothing to resample: there are no units")
    members = _members(num_units, clusters)
    rng, n = np.random.default_rng(seed), len(members)
    drawn = rng.integers(0, n, size=(replicates, n))
    found = np.array([statistic(np.concatenate([members[k] for k in row])) for row in drawn])
    estimate = float(statistic(np.arange(num_units)))
    ends = None
    if method == "bca" and n > 1:
        left = [np.concatenate(members[:k] + members[k + 1 :]) for k in range(n)]
        jackknife = np.array([statistic(rows) for rows in left])
        ends = bca_interval(found, estimate, jackknife, level)
    low, high = ends or percentile_interval(found, level)
    interval = Interval(
        estimate=estimate,
        low=low,
        high=high,
        method="bca" if ends else "percentile",
        over="units" if clusters is None else "clusters",
        descriptive=n < FEW_CLUSTERS,
    )
    return interval, found


def _members(num_units: int, clusters: np.ndarray | None) -> list[np.ndarray]:
    """The units of each cluster."""
    if clusters is None:
        return list(np.arange(num_units)[:, None])
    _, of = np.unique(clusters, return_inverse=True)
    return [np.flatnonzero(of == cluster) for cluster in range(of.max() + 1)]
