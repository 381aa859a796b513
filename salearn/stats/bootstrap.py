"""Intervals by resampling: clusters of one sample, or draw seeds x train seeds x cases of runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from salearn.stats.draws import case_weights, drawn_cases, drawn_runs
from salearn.stats.quantiles import of_columns, quantiles

Method = Literal["percentile", "bca"]
ENOUGH_SEEDS = 5  # two to four seeds say little about the spread over seeds
FEW_CLUSTERS = 8  # below this an interval describes the sample and supports no claim


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its bootstrap interval.

    Attributes:
        method: "percentile", or "bca"; a BCa interval that cannot be computed falls back to
            "percentile", and says so here.
        over: what was resampled, e.g. "cases" or "draw seeds x cases".
        descriptive: fewer than 8 clusters were resampled.
    """

    estimate: float
    low: float
    high: float
    method: str
    over: str
    descriptive: bool


def percentile_interval(
    replicates: Float[np.ndarray, " b"], level: float = 0.95
) -> tuple[float, float]:
    """Linearly interpolated quantiles (1 -+ level) / 2 of the bootstrap distribution."""
    low, high = percentile_intervals(replicates[:, None], level)
    return float(low[0]), float(high[0])


def percentile_intervals(
    replicates: Float[np.ndarray, "b column"], level: float = 0.95
) -> tuple[Float[np.ndarray, " column"], Float[np.ndarray, " column"]]:
    """Percentile intervals of many statistics at once; NaN replicates are left out."""
    levels = [(1 - level) / 2, (1 + level) / 2]
    found = np.empty((2, replicates.shape[1]))
    finite = np.isfinite(replicates).all(axis=0)
    if finite.any():
        found[:, finite] = of_columns(replicates if finite.all() else replicates[:, finite], levels)
    for column in np.flatnonzero(~finite):
        found[:, column] = quantiles(replicates[:, column], levels)
    return found[0], found[1]


def bca_interval(
    replicates: Float[np.ndarray, " b"],
    estimate: float,
    jackknife: Float[np.ndarray, " n"],
    level: float = 0.95,
) -> tuple[float, float] | None:
    """The bias-corrected and accelerated interval (Efron 1987), or None where it is undefined.

    Ties of replicates with the estimate count half in the bias correction.

    Args:
        jackknife: the statistic with each cluster left out in turn.
    """
    from scipy.stats import norm

    bias = norm.ppf(np.mean(replicates < estimate) + np.mean(replicates == estimate) / 2)
    pull = jackknife.mean() - jackknife
    spread = float(np.sum(pull**2)) ** 1.5
    if not np.isfinite(bias) or spread == 0:
        return None
    acceleration = float(np.sum(pull**3)) / (6 * spread)
    shifted = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    denominator = 1 - acceleration * shifted
    if (denominator <= 0).any():
        return None
    low, high = quantiles(replicates, norm.cdf(bias + shifted / denominator))
    return low, high


def bootstrap_mean(
    values: Float[np.ndarray, " unit"],
    clusters: Int[np.ndarray, " unit"] | None = None,
    method: Method = "percentile",
    replicates: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The mean over units and its interval; whole clusters (patients) are resampled.

    For a paired comparison give the differences: pairs then stay together.

    Args:
        clusters: the cluster of each unit; None = every unit is its own.

    Raises:
        ValueError: there are no values, or one is NaN or infinite.
    """
    if not len(values) or not np.isfinite(values).all():
        raise ValueError("a bootstrap needs finite values; leave out and count undefined cases")
    of = np.arange(len(values)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(of, weights=values), np.bincount(of)
    n = len(sizes)
    weights = case_weights(np.random.default_rng(seed), n, replicates)
    means = (weights @ sums) / (weights @ sizes)
    estimate = float(values.mean())
    found = None
    if method == "bca" and n > 1:
        jackknife = (sums.sum() - sums) / (sizes.sum() - sizes)
        found = bca_interval(means, estimate, jackknife, level)
    low, high = found or percentile_interval(means, level)
    return Interval(
        estimate=estimate,
        low=low,
        high=high,
        method="bca" if found else "percentile",
        over="units" if clusters is None else "clusters",
        descriptive=n < FEW_CLUSTERS,
    )


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """Seeded resamples of runs (train seeds inside draw seeds) crossed with test cases.

    Every run was measured on the same cases, so a replicate draws one set of cases for all runs.
    A level with one member is not resampled; `over` names what was. With few seeds the bootstrap
    understates their variance, by (n - 1) / n: a factor 1/2 at two seeds.

    Attributes:
        draws: the draw seed of each run; several runs of a draw differ by train seed.
        run_weights: share of each run in each replicate, rows sum to 1.
        case_weights: times each case is drawn in each replicate.
    """

    draws: tuple[int, ...]
    run_weights: Float[np.ndarray, "b run"]
    case_weights: Float[np.ndarray, "b case"]

    @classmethod
    def make(
        cls, draws: Sequence[int], num_cases: int, replicates: int = 2_000, seed: int = 0
    ) -> Hierarchy:
        """Resamples for runs with these draw seeds, measured on `num_cases` cases.

        Raises:
            ValueError: no run or no case.
        """
        if not draws or num_cases < 1:
            raise ValueError(f"nothing to resample: {len(draws)} runs, {num_cases} cases")
        runs = drawn_runs(seed, tuple(draws), replicates)
        cases = drawn_cases(seed, num_cases, replicates)
        return cls(draws=tuple(draws), run_weights=runs, case_weights=cases)

    @property
    def over(self) -> str:
        """What is resampled, in words."""
        levels = {
            "draw seeds": len(set(self.draws)) > 1,
            "train seeds": len(set(self.draws)) < len(self.draws),
            "cases": self.case_weights.shape[1] > 1,
        }
        return " x ".join(name for name, real in levels.items() if real) or "nothing"

    def identity(self) -> Hierarchy:
        """The one "resample" that takes everything once: what it replicates is the estimate."""
        _, index, sizes = np.unique(self.draws, return_inverse=True, return_counts=True)
        share = 1 / sizes[index] / len(sizes)
        return replace(self, run_weights=share[None], case_weights=self.case_weights[:1] * 0 + 1)

    def part(self, rows: slice) -> Hierarchy:
        """Some of the resamples."""
        runs, cases = self.run_weights[rows], self.case_weights[rows]
        return replace(self, run_weights=runs, case_weights=cases)

    def case_means(
        self, values: Float[np.ndarray, "run case column"]
    ) -> Float[np.ndarray, "b run column"]:
        """Mean over the drawn cases for each run and column; NaN values are left out."""
        runs, cases, columns = values.shape
        table = values.transpose(1, 0, 2).reshape(cases, runs * columns)
        return _case_means(table, self.case_weights).reshape(-1, runs, columns)

    def over_runs(self, means: Float[np.ndarray, "b run column"]) -> Float[np.ndarray, "b column"]:
        """Mean over the drawn runs; runs without a value are left out."""
        if np.isfinite(means).all():
            total: np.ndarray = np.einsum("br,brc->bc", self.run_weights, means)
            return total
        used = np.where(np.isnan(means), 0, self.run_weights[:, :, None])
        share = used.sum(axis=1)
        sums = np.where(used > 0, np.where(used > 0, means, 0) * used, 0).sum(axis=1)
        return np.where(share > 0, sums / np.where(share > 0, share, 1), np.nan)

    def estimate(self, values: Float[np.ndarray, "run case column"]) -> float:
        """Mean over columns of the mean over cases, averaged over train seeds, then draw seeds."""
        return float(self.identity().replicates(values)[0])

    def replicates(self, values: Float[np.ndarray, "run case column"]) -> Float[np.ndarray, " b"]:
        """The estimate in each resample. NaN values are left out of the mean over cases.

        Columns are classes: one column for the score of a class, all for the mean over classes.
        Two hierarchies with the same seed, draws and cases resample alike, so replicates of
        different budgets or arms can be combined one by one.
        """
        return self.over_runs(nanmean(self.case_means(values))[:, :, None])[:, 0]

    def interval(
        self, values: Float[np.ndarray, "run case column"], level: float = 0.95
    ) -> Interval:
        """The estimate and its percentile interval; of paired differences if given those."""
        return self.interval_of(values, self.replicates(values), level)

    def interval_of(
        self,
        values: Float[np.ndarray, "run case column"],
        replicates: Float[np.ndarray, " b"],
        level: float = 0.95,
    ) -> Interval:
        """The same from replicates of the values that are there already."""
        low, high = percentile_interval(replicates, level)
        return Interval(
            estimate=self.estimate(values),
            low=low,
            high=high,
            method="percentile",
            over=self.over,
            descriptive=self.descriptive,
        )

    @property
    def descriptive(self) -> bool:
        """Fewer than 8 cases: the interval supports no claim."""
        return bool(self.case_weights.shape[1] < FEW_CLUSTERS)


def _case_means(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weighted means of the columns of a case table, one row for each row of weights."""
    if np.isfinite(table).all():
        complete: np.ndarray = weights @ table
        complete /= table.shape[0]
        return complete
    sums = weights @ np.where(np.isfinite(table), table, 0)
    counts = weights @ (~np.isnan(table)).astype(np.float64)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    most, least = weights @ np.isposinf(table) > 0, weights @ np.isneginf(table) > 0
    means[most], means[least], means[most & least] = np.inf, -np.inf, np.nan
    return means


def _sum(values: np.ndarray) -> np.ndarray:
    """Sum over the last axis; of a few columns column by column, 3 times faster, the same bits."""
    columns = values.shape[-1]
    if not 2 <= columns < 8:  # numpy adds 8 and more in another order
        return np.asarray(values.sum(axis=-1))
    total: np.ndarray = values[..., 0] + values[..., 1]
    for column in range(2, columns):
        total += values[..., column]
    return total


def nanmean(means: Float[np.ndarray, "*rest column"]) -> Float[np.ndarray, "*rest"]:
    """Mean over the last axis of what is defined, NaN where nothing is."""
    if np.isfinite(means).all():
        whole: np.ndarray = _sum(means) / means.shape[-1]
        return whole
    defined = ~np.isnan(means)
    counts = defined.sum(axis=-1)
    sums = np.where(defined, means, 0).sum(axis=-1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
