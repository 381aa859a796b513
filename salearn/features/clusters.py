"""Spherical k-means of unit rows: whole where it is small, by samples and streams where not."""

from __future__ import annotations

import warnings

import numpy as np
from jaxtyping import Float, Int

from salearn.features.rows import Vectors, blocks, unit_rows
from salearn.features.threads import faiss_threads

POINTS_PER_CENTRE = 39  # below this FAISS warns that there are too few points to train on
POINTS_PER_START = 256  # rows a centre that training sees, drawn by the seed
LEAF_POINTS = 64  # the same for the cells of a tree, which need not be good clusters
LEAF_ITERATIONS = 5
SIMILARITIES = 2**22  # floats of a block of similarities to all centres


def spherical_kmeans(
    vectors: Float[np.ndarray, "row dim"] | Vectors,
    k: int,
    seed: int,
    iterations: int = 20,
    passes: int = 0,
    also: Float[np.ndarray, "other dim"] | None = None,
) -> tuple[Float[np.ndarray, "k dim"], Int[np.ndarray, " row"]]:
    """Unit-length cluster centres, and the centre most similar to each row.

    FAISS where it has enough points (it trains on at most 256 rows a centre, drawn by `seed`),
    scikit-learn on the unit rows below that. A centre may end without rows if rows are equal.

    Args:
        passes: mini-batch passes over all rows after the training on a sample (`stream`); without
            an effect where the sample was everything.
        also: unit rows that are clustered too, without being in the answer.

    Raises:
        ValueError: k is not within 1..number of rows, or a vector is not finite.
    """
    rows = unit_rows(vectors) if isinstance(vectors, np.ndarray) else vectors
    others = 0 if also is None else len(also)
    if not 1 <= k <= len(rows) + others:
        raise ValueError(f"k = {k} clusters asked of {len(rows) + others} vectors")
    sample = _sample(rows, POINTS_PER_START * k, np.random.default_rng(seed))
    drawn = len(sample)
    if also is not None and others:
        sample = np.concatenate([sample, also])
    if len(sample) >= POINTS_PER_CENTRE * k:
        start = _spread(sample, k, np.random.default_rng(seed))
        centres = _faiss_centres(sample, start, seed, iterations)
    else:
        centres = _sklearn_centres(sample, k, seed)
    if drawn < len(rows):
        centres = stream(rows, centres, passes, weight=drawn / k)
    return centres, nearest_centre(rows, centres)


def stream(
    rows: Vectors, centres: Float[np.ndarray, "k dim"], passes: int, weight: float = 0.0
) -> Float[np.ndarray, "k dim"]:
    """Mini-batch k-means (Sculley, WWW 2010, eq. of algorithm 1; spherical): rows read in order.

    A centre moves towards the mean of its rows of a block by their share of all rows that it has
    seen; memory is that of one block.

    Args:
        weight: rows that each centre stands for at the start.
    """
    sums = centres.astype(np.float64) * max(weight, 1e-6)
    for _ in range(passes):
        for part in _blocks_for(rows, len(centres)):
            block = rows[part]
            cell = (block @ centres.T).argmax(axis=1)
            sums += cell_sums(block, cell, len(centres))
            centres = unit_rows(sums)
    return centres


def cell_sums(
    block: Float[np.ndarray, "row dim"], cell: Int[np.ndarray, " row"], k: int
) -> Float[np.ndarray, "k dim"]:
    """The sum of the rows of each cell."""
    order = np.argsort(cell, kind="stable")
    present, starts = np.unique(cell[order], return_index=True)
    sums = np.zeros((k, block.shape[1]))
    sums[present] = np.add.reduceat(block[order], starts, axis=0, dtype=np.float64)
    return sums


def nearest_centre(rows: Vectors, centres: Float[np.ndarray, "k dim"]) -> Int[np.ndarray, " row"]:
    """The most similar centre of each row, by blocks; the first of equal ones."""
    cell = np.empty(len(rows), dtype=np.int64)
    for part in _blocks_for(rows, len(centres)):
        cell[part] = (rows[part] @ centres.T).argmax(axis=1)
    return cell


def tree_cells(
    rows: Vectors, size: int, seed: int, least: int = 1
) -> list[Int[np.ndarray, " row"]]:
    """The rows in cells of about `size` near ones, of `least` to 2 size + least: a k-means tree.

    Two levels cost 2 sqrt(cells) comparisons a row instead of one for each cell. Rows that are all
    alike would be one cell: a cell that is too large is cut. One that is too small joins the next.
    """
    count = max(1, round(len(rows) / size))
    cells: list[np.ndarray] = []
    for members in _split(rows, np.arange(len(rows)), max(1, round(count**0.5)), seed):
        for leaf in _split(rows, members, max(1, round(len(members) / size)), seed):
            small = bool(cells) and min(len(cells[-1]), len(leaf)) < least
            joined = np.concatenate([cells.pop(), leaf]) if small else leaf
            cells += np.array_split(joined, -(-len(joined) // (2 * size + least)))
    return cells


def _split(rows: Vectors, members: np.ndarray, k: int, seed: int) -> list[np.ndarray]:
    """Members grouped by k centres that a sample of them gave."""
    if k == 1:
        return [members]
    drawn = np.random.default_rng(seed).choice(
        len(members), min(LEAF_POINTS * k, len(members)), replace=False
    )
    sample = rows[members[np.sort(drawn)]]
    centres = _faiss_centres(sample, sample[:: len(sample) // k][:k], seed, LEAF_ITERATIONS)
    cell = np.empty(len(members), dtype=np.int64)
    for part in blocks(len(members)):
        cell[part] = (rows[members[part]] @ centres.T).argmax(axis=1)
    order = np.argsort(cell, kind="stable")
    cuts = np.flatnonzero(np.diff(cell[order])) + 1
    return np.split(members[order], cuts)


def _blocks_for(rows: Vectors, k: int) -> list[slice]:
    return list(blocks(len(rows), max(256, min(4096, SIMILARITIES // k))))


def _sample(rows: Vectors, count: int, rng: np.random.Generator) -> np.ndarray:
    """At most `count` rows, in their order."""
    if len(rows) > count:
        return rows[np.sort(rng.choice(len(rows), count, replace=False))]
    return rows[:]


def _faiss_centres(rows: np.ndarray, start: np.ndarray, seed: int, iterations: int) -> np.ndarray:
    import faiss

    kmeans = faiss.Kmeans(
        rows.shape[1],
        len(start),
        niter=iterations,
        spherical=True,
        seed=seed,
        min_points_per_centroid=1,
    )
    with faiss_threads(1):
        kmeans.train(rows, init_centroids=np.ascontiguousarray(start))
    return unit_rows(np.asarray(kmeans.centroids))


def _spread(rows: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Starting centres by k-means++: FAISS's own random start often merges two clusters."""
    picks = [int(rng.integers(len(rows)))]
    distance = np.full(len(rows), np.inf)
    while len(picks) < k:
        distance = np.minimum(distance, np.maximum(1 - rows @ rows[picks[-1]], 0))
        total = distance.cumsum(dtype=np.float64)
        # with fewer distinct rows than centres all distances are 0: any row will do
        drawn = np.searchsorted(total, rng.random() * total[-1], side="right")
        picks.append(min(int(drawn), len(rows) - 1))
    return np.ascontiguousarray(rows[picks])


def _sklearn_centres(rows: np.ndarray, k: int, seed: int) -> np.ndarray:
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    with threadpool_limits(1), warnings.catch_warnings():
        # equal rows leave fewer distinct points than centres: harmless here
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(k, n_init=1, random_state=seed).fit(rows)
    return unit_rows(found.cluster_centers_)
