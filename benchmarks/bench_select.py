"""Choosing 100 of 1e4, 1e5 and (--million) 1e6 slices: our strategies against numpy and sklearn.

Ours is the whole `select` of a registered strategy on memory-mapped float16. What would take the
others many minutes is timed on a part and scaled: the name of the arm says so.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from benchmarks import plain_select as plain
from benchmarks.common import Other, Row, check, compare, cpu_seconds, emit, lone_row, one_thread
from benchmarks.common import peak_mib as peak_of
from benchmarks.select_pool import Stored, trajectories

__all__ = ["rows", "trajectories"]

PICKS = 100
QUERIES = 500  # rows that scikit-learn's neighbour search is timed on in large pools
SCANS = 4  # picks that its distances are timed on
ROUNDS = {10_000: 2, 100_000: 1}
NAMES = ("coreset", "dkd", "hybrid", "typiclust")


def ours(name: str, pool: Stored) -> list[int]:
    """Rows that a registered strategy picks."""
    from strategies.registry import build

    seen: Any = pool
    answer = build(name).select(pool.pool, PICKS, seen, np.random.default_rng(0))
    return pool.picked(answer.unit_ids)


def spread(rows: np.ndarray, picks: list[int]) -> list[float]:
    """Largest and mean distance (1 - cosine) to the nearest of row 0 and the picks."""
    known = rows[[0, *picks]]
    far = np.concatenate(
        [1 - (rows[i : i + 4096] @ known.T).max(axis=1) for i in range(0, len(rows), 4096)]
    )
    return [float(far.max()), float(far.mean())]


def small(count: int, rounds: int) -> Iterator[Row]:
    """All strategies; others whole up to 1e4, and in part above."""
    pool = Stored(count)
    rows, adapted = pool.plain("frozen"), pool.plain("adapted")
    what = f"{PICKS} picks of {count} x 256"
    whole = count <= 10_000
    for name, others in arms(rows, adapted, whole).items():
        answer = partial(answered, name, pool, adapted)
        yield from compare("select", f"{name}: {what}", answer, others, rounds)
    if not whole:
        yield from parts(rows, adapted, what, pool)


def answered(name: str, pool: Stored, rows: np.ndarray) -> list[float]:
    """What is compared: radius and mean distance; they forgive picks that are equal to 1e-6."""
    return spread(rows, ours(name, pool))


def arms(rows: np.ndarray, adapted: np.ndarray, whole: bool) -> dict[str, list[Other]]:
    """The other arms of each strategy that are run as a whole."""

    def of(name: str, run: Callable[[], list[int]], tolerance: float) -> Other:
        return Other(name=name, run=lambda: spread(adapted, run()), tolerance=tolerance)

    def gapped(constrained: bool) -> list[int]:
        cosine = plain.neighbours_sklearn(adapted[1:], adapted[1:], plain.NEIGHBOURS)
        return plain.divergence(rows, adapted, cosine, PICKS, constrained)

    numpy = of("numpy, one product a pick", lambda: plain.farthest_numpy(adapted, PICKS), 2e-5)
    # Looked into at 1e5 (2026-11-22): the first 83 picks are equal; at the next two rows' largest
    # cosines to what is covered differ by 5e-8 in float64, less than float32 resolves. Ours takes
    # both for equal (`strategies.terms.snap`, 1e-6) and draws, scikit-learn's rounding decides.
    # The picks after it follow from that one; 96 of 100 are shared. A near tie, hence the 1e-3.
    sklearn = of(
        "scikit-learn pairwise_distances, one scan a pick",
        lambda: plain.farthest_sklearn(adapted, PICKS),
        1e-3,
    )
    if not whole:
        return {"coreset": [numpy, sklearn]}
    exact = "scikit-learn NearestNeighbors, numpy greedy"
    clusters = "scikit-learn KMeans and NearestNeighbors"
    return {
        "coreset": [numpy, sklearn],
        "dkd": [of(exact, lambda: gapped(False), 2e-5)],
        "hybrid": [of(exact, lambda: gapped(True), 2e-5)],
        # other starting centres, other clusters: only how well the pool is covered can agree
        "typiclust": [of(clusters, lambda: plain.typical(adapted, PICKS), 0.1)],
    }


def parts(rows: np.ndarray, adapted: np.ndarray, what: str, pool: Stored) -> Iterator[Row]:
    """Strategies on neighbours: scikit-learn's search is timed on a part of the queries."""
    count, asked = len(rows), adapted[:: len(rows) // QUERIES][:QUERIES]
    searched = cpu_seconds(lambda: plain.neighbours_sklearn(adapted, asked, plain.NEIGHBOURS))
    drawn = np.random.default_rng(0).uniform(0.8, 1, (count - 1, plain.NEIGHBOURS))
    cosine = np.sort(drawn.astype(np.float32))[:, ::-1]
    for name in ("dkd", "hybrid"):
        walk = partial(plain.divergence, rows, adapted, cosine, PICKS, name == "hybrid")
        other = searched * count / QUERIES + cpu_seconds(walk)
        label = f"scikit-learn search ({QUERIES} queries, scaled), numpy greedy"
        yield beside(f"{name}: {what}", partial(ours, name, pool), label, other)
    yield beside(f"typiclust: {what}", lambda: ours("typiclust", pool), None, None)
    yield beside(f"facility: {what}", lambda: ours("facility", pool), None, None)


def beside(what: str, run: Callable[[], Any], label: str | None, other: float | None) -> Row:
    """A row of one call, with the time of another arm that was measured elsewhere."""
    found: list[float] = []

    def timed() -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        found[:] = [time.process_time() - cpu, time.perf_counter() - wall]

    peak = peak_of(timed)
    row = lone_row("select", what, 1, found[0], peak)
    row["wall_s"] = round(found[1], 1)
    if other is not None:
        row |= {"against": label, "other_cpu_s": float(f"{other:.3g}")}
        ratio = round(other / found[0], 2)
        row |= {"ratio": ratio, "ratio_range": (ratio, ratio)}
    return row


def million(count: int = 1_000_000) -> Iterator[Row]:
    """Every strategy once, without the others in memory; then numpy's k-center for comparison."""
    pool = Stored(count)
    what = f"{PICKS} picks of {count} x 256"
    answers: dict[str, list[int]] = {}

    def keep(name: str) -> None:
        answers[name] = ours(name, pool)

    for name in (*NAMES, "facility"):
        yield beside(f"{name}: {what}", partial(keep, name), None, None)
    adapted = pool.plain("adapted")
    start = time.process_time()
    chosen = plain.farthest_numpy(adapted, PICKS)
    seconds = time.process_time() - start
    same = check("coreset at a million", spread(adapted, answers["coreset"]),
                 spread(adapted, chosen), 2e-5)  # fmt: skip
    row = lone_row("select", f"numpy k-center, float32 in memory: {what}", 1, seconds, None)
    row["difference"] = same
    yield row
    scan = cpu_seconds(lambda: plain.farthest_sklearn(adapted, SCANS)) * PICKS / SCANS
    yield lone_row(
        "select", f"scikit-learn k-center ({SCANS} picks, scaled): {what}", 1, scan, None
    )


def rows() -> Iterator[Row]:
    """One row per strategy, pool size and other arm."""
    with one_thread(torch=False):
        for count, rounds in ROUNDS.items():
            yield from small(count, rounds)


if __name__ == "__main__":
    if "--million" in sys.argv:
        with one_thread(torch=False):
            emit(million())
    else:
        emit(rows())
