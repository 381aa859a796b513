"""Weighted facility location on a graph of nearest neighbours, by lazy greedy (reconstruction)."""

from __future__ import annotations

import heapq

import numpy as np
from jaxtyping import Float

from salearn.features.index import IndexSettings, VectorIndex
from strategies.greedy import Batch
from strategies.limits import Limits
from strategies.terms import nearest_labeled, snap


class _Reach:
    """Which units a candidate represents, and how well: rows of a sparse cosine graph."""

    def __init__(self, z: np.ndarray, k: int, settings: IndexSettings) -> None:
        count = len(z)
        similarity, rows = VectorIndex(z, settings).neighbours(min(k, count - 1))
        source = np.repeat(np.arange(count), similarity.shape[1])
        # u counts j among its neighbours: j represents u; everything represents itself
        represented = np.concatenate([np.arange(count), source])
        by = np.concatenate([np.arange(count), rows.ravel()])
        cosine = np.concatenate([np.ones(count), snap(similarity.ravel())])
        known = by >= 0
        order = np.argsort(by[known], kind="stable")
        self.units, self.cosine = represented[known][order], cosine[known][order]
        self.starts = np.searchsorted(by[known][order], np.arange(count + 1))

    def of(self, row: int) -> tuple[np.ndarray, np.ndarray]:
        """Units that a row represents, and the cosines."""
        part = slice(self.starts[row], self.starts[row + 1])
        return self.units[part], self.cosine[part]


def cover_greedily(
    z: Float[np.ndarray, "unit dim"],
    labeled: Float[np.ndarray, "labeled dim"],
    weights: Float[np.ndarray, " unit"],
    n: int,
    k: int,
    limits: Limits,
    rng: np.random.Generator,
    settings: IndexSettings,
) -> Batch:
    """Maximise sum_u w_u * max over labeled and picked j of max(0, cosine(u, j)) greedily.

    Only the k nearest neighbours of u can represent it. Monotone and submodular, so the greedy
    answer is within 1 - 1/e of the best (Nemhauser 1978) and stale gains are upper bounds.
    """
    run = _Run(_Reach(z, k, settings), nearest_labeled(z, labeled), weights, limits, rng)
    picks = [run.pick() for _ in range(n)]
    values = np.array([run.gain(row) for row in range(len(z))])
    for row, value in picks:
        values[row] = value
    return Batch(rows=np.array([row for row, _ in picks], dtype=np.int64), scores=values)


class _Run:
    """Lazy greedy: a heap of old gains, of which only the head is counted again."""

    def __init__(
        self,
        reach: _Reach,
        nearest: np.ndarray,
        weights: np.ndarray,
        limits: Limits,
        rng: np.random.Generator,
    ) -> None:
        self.reach, self.weights, self.limits = reach, weights, limits
        self.covered = np.maximum(snap(nearest), 0.0)
        order = rng.permutation(len(weights))
        self.heap = [(-self.gain(row), int(order[row]), row) for row in range(len(weights))]
        self.aside: list[tuple[float, int, int]] = []
        heapq.heapify(self.heap)

    def gain(self, row: int) -> float:
        """What the objective would gain by this row now."""
        units, cosine = self.reach.of(row)
        more = np.maximum(cosine - self.covered[units], 0)
        return round(float((self.weights[units] * more).sum()), 9)

    def pick(self) -> tuple[int, float]:
        """Take the best free row; the row and its gain."""
        row, value = self._head()
        units, cosine = self.reach.of(row)
        self.covered[units] = np.maximum(self.covered[units], cosine)
        self.limits.take(row)
        return row, value

    def _head(self) -> tuple[int, float]:
        while self.heap:
            old = heapq.heappop(self.heap)
            row = old[2]
            if not self.limits.free(slice(row, row + 1), np.full(1, -1.0))[0]:
                self.aside.append(old)
                continue
            fresh = (-self.gain(row), old[1], row)
            if not self.heap or fresh <= self.heap[0]:
                return row, -fresh[0]
            heapq.heappush(self.heap, fresh)
        if not self.limits.relax():
            raise ValueError("no unit is left to pick")
        self.heap, self.aside = self.aside, []
        heapq.heapify(self.heap)
        return self._head()
