"""Selection as it is usually written, with numpy and scikit-learn: what bench_select compares with.

Every function takes float32 rows of unit length, of which row 0 is labeled, and gives row numbers.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

NEIGHBOURS = 20
LAMBDA0 = 0.2
GATE = 0.05


def farthest_numpy(rows: np.ndarray, picks: int) -> list[int]:
    """k-center greedy: one matrix-vector product a pick."""
    near = rows @ rows[0]
    chosen: list[int] = []
    for _ in range(picks):
        chosen.append(int(near.argmin()))
        near = np.maximum(near, rows @ rows[chosen[-1]])
    return chosen


def farthest_sklearn(rows: np.ndarray, picks: int) -> list[int]:
    """k-center greedy: scikit-learn's distances of all rows to each pick."""
    from sklearn.metrics import pairwise_distances

    chosen: list[int] = []
    nearest, last = np.full(len(rows), np.inf), 0
    for _ in range(picks):
        nearest = np.minimum(nearest, pairwise_distances(rows, rows[last : last + 1])[:, 0])
        last = int(nearest.argmax())
        chosen.append(last)
    return chosen


def neighbours_sklearn(rows: np.ndarray, queries: np.ndarray, k: int) -> np.ndarray:
    """Cosines of the k nearest other rows by scikit-learn's brute-force search."""
    from sklearn.neighbors import NearestNeighbors

    found = NearestNeighbors(n_neighbors=k + 1, metric="euclidean", algorithm="brute").fit(rows)
    distance, _ = found.kneighbors(queries)
    cosine: np.ndarray = 1 - distance[:, 1:] ** 2 / 2
    return cosine


def divergence(
    rows: np.ndarray, adapted: np.ndarray, cosine: np.ndarray, picks: int, constrained: bool
) -> list[int]:
    """DKD with the drift gap (or hybrid at weight 0 of difficulty: with its constraints).

    Args:
        cosine: of the nearest neighbours of rows 1, 2, ... among themselves.
    """
    z, known = adapted[1:], adapted[0]
    gap = scaled_ranks(np.round(1 - np.einsum("nd,nd->n", rows[1:], z), 6))
    rho = scaled_ranks(np.round(cosine.mean(axis=1, dtype=np.float64), 6))
    near = z @ known
    covered = np.mean(near >= np.median(cosine[:, -1]))
    gamma = max(0.0, 1 - covered / 0.8)
    static = np.where(rho < GATE, 0, (LAMBDA0 + (1 - LAMBDA0) * gap) * rho**gamma)
    volume, place = np.arange(1, len(rows)) // 100, np.arange(1, len(rows)) % 100
    cap = max(1, -(-3 * picks // (volume.max() + 1)))
    chosen: list[int] = []
    shut = np.zeros(len(z), dtype=bool)
    if constrained:
        shut |= (volume == 0) & (place < 3)
    for _ in range(picks):
        score = np.where(shut, -1, static * (1 - near) / 2)
        if constrained:
            score[near > 0.98] = -1
        row = int(score.argmax())
        chosen.append(row + 1)
        shut[row] = True
        near = np.maximum(near, z @ z[row])
        if constrained:
            same = volume == volume[row]
            shut |= same & (abs(place - place[row]) < 3)
            if shut_full(chosen, volume, row, cap):
                shut |= same
    return chosen


def shut_full(chosen: list[int], volume: np.ndarray, row: int, cap: int) -> bool:
    """Whether the volume of a row has given its share."""
    return int((volume[np.array(chosen) - 1] == volume[row]).sum()) >= cap


def scaled_ranks(values: np.ndarray) -> np.ndarray:
    """Average ranks scaled to 0..1."""
    scaled: np.ndarray = (rankdata(values) - 1) / (len(values) - 1)
    return scaled


def typical(rows: np.ndarray, picks: int) -> list[int]:
    """TypiClust: scikit-learn's k-means, then its neighbour search within each cluster."""
    from sklearn.cluster import KMeans

    cell = KMeans(picks + 1, n_init=1, random_state=0).fit_predict(rows)
    order = np.argsort(-np.bincount(cell), kind="stable")
    chosen: list[int] = []
    for code in [c for c in order if c != cell[0]][:picks]:
        members = np.flatnonzero(cell == code)
        k = min(NEIGHBOURS, len(members) // 2)
        if k < 1:
            chosen.append(int(members[0]))
            continue
        cosine = neighbours_sklearn(rows[members], rows[members], k)
        distance = np.sqrt(np.maximum(2 - 2 * cosine, 0)).mean(axis=1)
        chosen.append(int(members[distance.argmin()]))
    return chosen
