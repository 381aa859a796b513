"""Resampling 200 cases x 20 runs x 5 columns, and DeLong, against plain loops and scipy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.common import Other, Row, compare, emit, one_thread

CASES, RUNS, COLUMNS = 200, 20, 5
DRAWS = [run // 4 for run in range(RUNS)]  # five draw seeds of four train seeds
REPLICATES = 2_000
MONTE_CARLO = 2e-3  # the arms draw other resamples; scores are within 0..1, their SD is 0.1


def scores(seed: int) -> np.ndarray:
    """Dice-like values "run case column" with effects of case and run."""
    rng = np.random.default_rng(seed)
    base = 0.8 + rng.normal(0, 0.05, (1, CASES, 1)) + rng.normal(0, 0.01, (RUNS, 1, 1))
    return np.asarray(base + rng.normal(0, 0.05, (RUNS, CASES, COLUMNS)))


def our_intervals(values: np.ndarray) -> Callable[[], np.ndarray]:
    """Percentile intervals of the mean over cases of every run and column."""
    from salearn.stats.bootstrap import Hierarchy, percentile_intervals

    def run() -> np.ndarray:
        means = Hierarchy.make(DRAWS, CASES, REPLICATES).case_means(values)
        return np.stack(percentile_intervals(means.reshape(REPLICATES, -1)))

    return run


def scipy_intervals(values: np.ndarray) -> Callable[[], np.ndarray]:
    """`scipy.stats.bootstrap`, vectorised over the columns, in batches that fit the memory."""
    from scipy.stats import bootstrap

    table = values.transpose(1, 0, 2).reshape(CASES, -1)

    def run() -> np.ndarray:
        found = bootstrap(
            (table,),
            np.mean,
            n_resamples=REPLICATES,
            method="percentile",
            axis=0,
            rng=np.random.default_rng(1),
            batch=100,
        ).confidence_interval
        return np.stack([found.low, found.high])

    return run


def looped_intervals(values: np.ndarray) -> Callable[[], np.ndarray]:
    """A loop over resamples of cases."""

    def run() -> np.ndarray:
        rng = np.random.default_rng(2)
        means = [
            values[:, rng.integers(0, CASES, CASES)].mean(axis=1).ravel() for _ in range(REPLICATES)
        ]
        return np.quantile(means, [0.025, 0.975], axis=0)

    return run


def our_difference(first: np.ndarray, second: np.ndarray) -> Callable[[], list[float]]:
    """Draw seeds x train seeds x cases: estimate and interval of the paired difference."""
    from salearn.stats.hierarchical import compare_methods

    def run() -> list[float]:
        found = compare_methods(first, second, DRAWS, replicates=REPLICATES)
        low, high = found.interval or (np.nan, np.nan)
        return [float(found.estimate or 0.0), low, high]

    return run


def looped_difference(first: np.ndarray, second: np.ndarray) -> Callable[[], list[float]]:
    """The same by a loop over replicates, as it is usually written."""
    gaps = first - second
    members = [np.flatnonzero(np.array(DRAWS) == draw) for draw in sorted(set(DRAWS))]

    def run() -> list[float]:
        rng, drawn = np.random.default_rng(3), []
        for _ in range(REPLICATES):
            cases = rng.integers(0, CASES, CASES)
            means = []
            for draw in rng.integers(0, len(members), len(members)):
                runs = rng.choice(members[draw], len(members[draw]))
                means.append(np.mean([gaps[run][cases].mean() for run in runs]))
            drawn.append(np.mean(means))
        low, high = np.quantile(drawn, [0.025, 0.975])
        return [float(gaps.mean()), float(low), float(high)]

    return run


def subjects() -> tuple[np.ndarray, np.ndarray]:
    """100 scores (20 runs x 5 arms) of 200 subjects, half of them positive; some are tied."""
    rng = np.random.default_rng(4)
    truth = np.arange(CASES) % 2 == 0
    made = np.round(rng.normal(0, 1, (RUNS * COLUMNS, CASES)) + truth, 2)
    return made, truth


def our_delong() -> list[np.ndarray]:
    from salearn.stats.delong import auc_table

    found = auc_table(*subjects())
    return [found.auc, found.covariance]


def plain_delong() -> list[np.ndarray]:
    """Every pair of a positive and a negative, arm by arm, in plain Python."""
    made, truth = subjects()
    above, below = [], []
    for row in made.tolist():
        positive = [s for s, t in zip(row, truth, strict=True) if t]
        negative = [s for s, t in zip(row, truth, strict=True) if not t]
        wins = [[(x > y) + 0.5 * (x == y) for y in negative] for x in positive]
        above.append([sum(line) / len(negative) for line in wins])
        below.append([sum(line) / len(positive) for line in zip(*wins, strict=True)])
    covariance = np.cov(above) / len(above[0]) + np.cov(below) / len(below[0])
    return [np.mean(above, axis=1), covariance]


def rows() -> list[Row]:
    """Intervals of a table, a paired difference of methods, areas under 100 curves."""
    first, second = scores(0), scores(1)
    table = f"{CASES} cases x {RUNS} runs x {COLUMNS} columns"
    with one_thread(torch=False):
        every = [
            Other(name="scipy.stats.bootstrap", run=scipy_intervals(first), tolerance=MONTE_CARLO),
            Other(name="loop over resamples", run=looped_intervals(first), tolerance=MONTE_CARLO),
        ]
        plain = Other(
            name="loops over replicates and runs",
            run=looped_difference(first, second),
            tolerance=MONTE_CARLO,
        )
        pairs = Other(name="loops over pairs", run=plain_delong, tolerance=1e-12)
        what = f"{REPLICATES} resamples, {table}"
        return [
            *compare("stats", f"bootstrap: {what}", our_intervals(first), every, 3),
            *compare("stats", f"hierarchical: {what}", our_difference(first, second), [plain], 3),
            *compare("stats", f"DeLong: {RUNS * COLUMNS} scores, {CASES} subjects",
                     our_delong, [pairs], 3, 3),
        ]  # fmt: skip


if __name__ == "__main__":
    emit(rows())
