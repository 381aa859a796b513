"""Choosing 100 rows by coverage: our lazy greedy against a scan with scikit-learn's distances.

Both arms start from the same covered row and must choose the same rows.
"""

from __future__ import annotations

import numpy as np

from benchmarks.common import Other, Row, compare, emit, one_thread

PICKS = 100
DIM = 256
ROUNDS = {10_000: 3, 100_000: 2}  # the scan takes some 10 CPU-seconds for 100 000 rows


def trajectories(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors like those of slices: a random walk of 100 steps in each volume."""
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((count // 100, 1, DIM), dtype=np.float32)
    walk = rng.standard_normal((count // 100, 100, DIM), dtype=np.float32).cumsum(axis=1)
    rows = (start + np.float32(0.15) * walk).reshape(count, DIM)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def ours(rows: np.ndarray, picks: int) -> list[int]:
    from salearn.cases import UnitId
    from strategies.greedy import greedy, product
    from strategies.limits import Limits

    units = [UnitId(f"{i // 100:06d}@{i % 100:03d}") for i in range(len(rows))]
    score = product(np.ones(len(rows)))
    rng = np.random.default_rng(0)
    chosen: list[int] = greedy(rows, rows[:1], picks, score, Limits(units), rng).rows.tolist()
    return chosen


def by_sklearn(rows: np.ndarray, picks: int) -> list[int]:
    from sklearn.metrics import pairwise_distances

    chosen: list[int] = []
    nearest, last = np.full(len(rows), np.inf), 0
    for _ in range(picks):
        nearest = np.minimum(nearest, pairwise_distances(rows, rows[last : last + 1])[:, 0])
        last = int(nearest.argmax())
        chosen.append(last)
    return chosen


def comparison(count: int, rounds: int) -> list[Row]:
    vectors = trajectories(count)
    scan = Other(
        name="scikit-learn pairwise_distances, one scan a pick",
        run=lambda: by_sklearn(vectors, PICKS),
        tolerance=0,
    )
    what = f"{PICKS} picks of {count} x {DIM}"
    return compare("select", what, lambda: ours(vectors, PICKS), [scan], rounds)


def rows() -> list[Row]:
    """One row per pool size."""
    with one_thread(torch=False):
        return [row for count, rounds in ROUNDS.items() for row in comparison(count, rounds)]


if __name__ == "__main__":
    emit(rows())
