"""Neighbours and cluster centres of unit vectors: FAISS behind a few methods, numpy in and out."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from salearn.settings import Field, settings

POINTS_PER_CENTRE = 39  # below this FAISS warns that there are too few points to train on
POINTS_PER_START = 256  # rows a centre that the starting centres are drawn from
CHUNK = 16384  # queries at a time; bounds the memory of a search


@settings
class IndexSettings:
    """How neighbours are found.

    Attributes:
        factory: FAISS factory string; "Flat" is exact, e.g. "IVF1024,Flat" for millions of rows.
        nprobe: lists that are visited per query, for IVF factories.
        threads: of FAISS while it works.
        seed: of whatever the factory trains.
    """

    factory: str = "Flat"
    nprobe: int = Field(default=32, ge=1)
    threads: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)


def unit_rows(vectors: Float[np.ndarray, "row dim"]) -> Float[np.ndarray, "row dim"]:
    """The rows scaled to length 1, float32, contiguous; a zero row has no direction and stays zero.

    Raises:
        ValueError: a value is not finite.
    """
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if bad.size:
        raise ValueError(f"embeddings must be finite; rows {bad[:5].tolist()} are not")
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    unit: np.ndarray = rows / np.where(length > 0, length, 1)
    return unit


class VectorIndex:
    """Inner-product search over rows of unit length.

    Zero rows (the embedding of a blank slice) are allowed: their similarity to everything is 0.
    The same rows in the same order give the same answers.

    Args:
        vectors: one row each; they are scaled to length 1 and must be finite.
        settings: the default is an exact search on one thread.

    Raises:
        ValueError: a vector is not finite, there is none, or FAISS cannot build the factory.
    """

    def __init__(
        self, vectors: Float[np.ndarray, "row dim"], settings: IndexSettings | None = None
    ) -> None:
        self.settings = settings or IndexSettings()
        self.vectors = unit_rows(vectors)
        if not len(self.vectors):
            raise ValueError("an index needs at least one vector")
        with _threads(self.settings.threads):
            self._index = _build(self.vectors, self.settings)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, queries: Float[np.ndarray, "query dim"], k: int
    ) -> tuple[Float[np.ndarray, "query k"], Int[np.ndarray, "query k"]]:
        """The k most similar rows of each query, best first.

        Returns:
            Cosine similarity (-1..1) and row number. An approximate index may find fewer than k:
            then the similarity is -1 and the row -1.

        Raises:
            ValueError: k is not within 1..number of rows.
        """
        if not 1 <= k <= len(self):
            raise ValueError(f"k = {k} neighbours asked of an index of {len(self)} rows")
        similarity = np.empty((len(queries), k), dtype=np.float32)
        rows = np.empty((len(queries), k), dtype=np.int64)
        with _threads(self.settings.threads):
            for start in range(0, len(queries), CHUNK):
                part = slice(start, start + CHUNK)
                similarity[part], rows[part] = self._index.search(unit_rows(queries[part]), k)
        similarity[rows < 0] = -1
        return np.clip(similarity, -1, 1, out=similarity), rows

    def neighbours(self, k: int) -> tuple[Float[np.ndarray, "row k"], Int[np.ndarray, "row k"]]:
        """The k nearest other rows of every row, best first (as `search`, without the row itself).

        Raises:
            ValueError: k is not within 0..number of rows - 1.
        """
        if not 0 <= k < len(self):
            raise ValueError(f"k = {k} other neighbours asked among {len(self)} rows")
        similarity, rows = self.search(self.vectors, k + 1)
        own = rows == np.arange(len(self))[:, None]
        # among many equal rows, or in an approximate search, a row may miss itself: drop the last
        own[~own.any(axis=1), -1] = True
        kept = ~own
        shape = (len(self), k)
        return similarity[kept].reshape(shape), rows[kept].reshape(shape)


def spherical_kmeans(
    vectors: Float[np.ndarray, "row dim"], k: int, seed: int, iterations: int = 20
) -> tuple[Float[np.ndarray, "k dim"], Int[np.ndarray, "row"]]:
    """Unit-length cluster centres, and the centre most similar to each row.

    FAISS where it has enough points (it trains on at most 256 rows a centre, drawn by `seed`),
    scikit-learn on the unit rows below that. A centre may end without rows if rows are equal.

    Raises:
        ValueError: k is not within 1..number of rows, or a vector is not finite.
    """
    rows = unit_rows(vectors)
    if not 1 <= k <= len(rows):
        raise ValueError(f"k = {k} clusters asked of {len(rows)} vectors")
    if len(rows) >= POINTS_PER_CENTRE * k:
        centres = _faiss_centres(rows, k, seed, iterations)
    else:
        centres = _sklearn_centres(rows, k, seed)
    _, nearest = VectorIndex(centres).search(rows, 1)
    return centres, nearest[:, 0]


def _build(vectors: np.ndarray, settings: IndexSettings) -> Any:
    import faiss

    try:
        index = faiss.index_factory(vectors.shape[1], settings.factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            inner = _ivf(index)
            if inner is not None:
                inner.cp.seed, inner.nprobe = settings.seed, settings.nprobe
            index.train(vectors)
        index.add(vectors)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"FAISS cannot build '{settings.factory}' over {vectors.shape}: {reason}"
        ) from None
    return index


def _ivf(index: Any) -> Any:
    import faiss

    return faiss.try_extract_index_ivf(index)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """FAISS keeps one thread count per process: set it, and put it back."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _faiss_centres(rows: np.ndarray, k: int, seed: int, iterations: int) -> np.ndarray:
    import faiss

    start = _spread(rows, k, np.random.default_rng(seed))
    kmeans = faiss.Kmeans(rows.shape[1], k, niter=iterations, spherical=True, seed=seed)
    with _threads(1):
        kmeans.train(rows, init_centroids=start)
    return unit_rows(np.asarray(kmeans.centroids))


def _spread(rows: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """Starting centres by k-means++: FAISS's own random start often merges two clusters."""
    if len(rows) > POINTS_PER_START * k:
        rows = rows[np.sort(rng.choice(len(rows), POINTS_PER_START * k, replace=False))]
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
