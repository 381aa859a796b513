"""Choosing 100 rows by coverage: our lazy greedy against a scan with scikit-learn's distances.

Both arms start from the same covered row and must choose the same rows. They run one after the
other in one process and the ratio is the median over such pairs, so a busy machine slows both.
"""

from __future__ import annotations

import json
import time
import tracemalloc
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np

PICKS = 100
DIM = 256
PAIRS = {10_000: 3, 100_000: 2}  # the scan takes some 10 CPU-seconds for 100 000 rows


def trajectories(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors like those of slices: a random walk of 100 steps in each volume."""
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((count // 100, 1, DIM), dtype=np.float32)
    walk = rng.standard_normal((count // 100, 100, DIM), dtype=np.float32).cumsum(axis=1)
    rows = (start + np.float32(0.15) * walk).reshape(count, DIM)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def ours(rows: np.ndarray, picks: int) -> list[int]:
    from salearn.cases import UnitId
    from strategies.greedy import greedy, product
    from strategies.limits import Limits

    units = [UnitId(f"{i // 100:06d}@{i % 100:03d}") for i in range(len(rows))]
    score = product(np.ones(len(rows)))
    rng = np.random.default_rng(0)
    return greedy(rows, rows[:1], picks, score, Limits(units), rng).rows.tolist()


def by_sklearn(rows: np.ndarray, picks: int) -> list[int]:
    from sklearn.metrics import pairwise_distances

    chosen, nearest, last = [], np.full(len(rows), np.inf), 0
    for _ in range(picks):
        nearest = np.minimum(nearest, pairwise_distances(rows, rows[last : last + 1])[:, 0])
        last = int(nearest.argmax())
        chosen.append(last)
    return chosen


def seconds(run: Callable[[], list[int]]) -> tuple[float, list[int]]:
    """CPU-seconds of the process, and the answer."""
    start = time.process_time()
    answer = run()
    return time.process_time() - start, answer


def peak_mib(run: Callable[[], object]) -> float:
    """Largest memory allocated during a run on top of what was there, MiB."""
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def rows() -> list[dict[str, Any]]:
    """One row per pool size."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        return [compare(count, pairs) for count, pairs in PAIRS.items()]


def compare(count: int, pairs: int) -> dict[str, Any]:
    vectors = trajectories(count)
    ours(vectors[:1000], 3), by_sklearn(vectors[:1000], 3)  # imports and first calls
    timed = [
        (seconds(lambda: ours(vectors, PICKS)), seconds(lambda: by_sklearn(vectors, PICKS)))
        for _ in range(pairs)
    ]
    return {
        "bench": "select",
        "what": f"{PICKS} picks by coverage of {count} x {DIM}",
        "ours_cpu_s": round(median(a[0] for a, _ in timed), 3),
        "other_cpu_s": round(median(b[0] for _, b in timed), 3),
        "other": "scikit-learn pairwise_distances, one scan a pick",
        "ratio": round(median(b[0] / a[0] for a, b in timed), 2),
        "pairs": pairs,
        "same_picks": all(a[1] == b[1] for a, b in timed),
        "ours_peak_mib": round(peak_mib(lambda: ours(vectors, PICKS)), 1),
        "other_peak_mib": round(peak_mib(lambda: by_sklearn(vectors, 2)), 1),
    }


def main() -> None:
    for row in rows():
        print(json.dumps(row))


if __name__ == "__main__":
    main()
