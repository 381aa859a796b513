"""Neighbours among unit vectors: FAISS behind a few methods, numpy in and out."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from salearn.features.clusters import nearest_centre, spherical_kmeans
from salearn.features.neighbours import cell_neighbours, recall
from salearn.features.rows import Rows, Vectors, blocks, open_rows, unit_rows
from salearn.features.threads import faiss_threads
from salearn.settings import Field, settings

__all__ = [
    "IndexSettings",
    "VectorIndex",
    "all_neighbours",
    "factory_for",
    "nearest_centre",
    "spherical_kmeans",
    "unit_rows",
]

log = logging.getLogger(__name__)

CHUNK = 4096  # queries at a time; bounds the memory of a search
TRAIN_PER_LIST = 64  # rows a list that training sees (FAISS asks for 39 to 256)
RECALL_QUERIES = 64  # rows on which an approximate answer is compared with the exact one


@settings
class IndexSettings:
    """How neighbours are found, and how much memory a selection may take for vectors.

    Attributes:
        factory: FAISS factory string; "auto" = by the number of rows and the memory
            (`factory_for`); "Flat" is exact.
        nprobe: lists that are visited per query, for IVF factories.
        threads: of FAISS while it works.
        seed: of whatever is trained or drawn.
        exact_rows: with "auto", up to so many rows the neighbours of all rows are searched
            exactly; above, within the cells of trees.
        trees, cell: number of those trees and rows in a cell.
        memory: bytes for vectors and tables of one selection. Rows are kept as float32 if that
            takes at most half of it, else read from where they are as they are needed.
    """

    factory: str = "auto"
    nprobe: int = Field(default=32, ge=1)
    threads: int = Field(default=1, ge=1)
    seed: int = Field(default=0, ge=0)
    exact_rows: int = Field(default=16384, ge=1)
    trees: int = Field(default=2, ge=1)
    cell: int = Field(default=192, ge=2)
    memory: int = Field(default=2**31, ge=2**20)


def factory_for(count: int, dim: int, memory: int) -> str:
    """FAISS factory of an index over so many rows.

    Exact up to 50 000 rows if the copy fits in half of the memory; then lists of one byte a
    number up to five million; above, or if those do not fit, lists found through a graph of
    centres, and product codes of a quarter of a byte a number. 4 sqrt(rows) lists below a million
    rows, then 65 536 up to ten million, 262 144 up to a hundred million (FAISS guideline).
    """
    if count <= 50_000 and 4 * count * dim <= memory // 2:
        return "Flat"
    lists = max(1, min(round(4 * count**0.5), count // TRAIN_PER_LIST))
    if count <= 5_000_000 and (dim + 8) * count <= memory // 2:
        return f"IVF{lists},SQ8"
    if count > 1_000_000:
        lists = 65_536 if count <= 10_000_000 else 262_144
    return f"IVF{lists}_HNSW32,PQ{_parts(dim)}"


def _parts(dim: int) -> int:
    """Bytes of a product code: a divisor of dim, dim / 4 if that is one."""
    return max(part for part in range(1, max(dim // 4, 1) + 1) if dim % part == 0)


class VectorIndex:
    """Inner-product search over rows of unit length.

    Zero rows (the embedding of a blank slice) are allowed: their similarity to everything is 0.
    The same rows in the same order give the same answers.

    Args:
        vectors: one row each; they are scaled to length 1 and must be finite.
        settings: the default is exact for up to 50 000 rows.

    Raises:
        ValueError: a vector is not finite, there is none, or FAISS cannot build the factory.
    """

    def __init__(
        self,
        vectors: Float[np.ndarray, "row dim"] | Rows,
        settings: IndexSettings | None = None,
    ) -> None:
        self.settings = settings or IndexSettings()
        given = vectors
        self.vectors = (
            open_rows(given, self.settings.memory) if isinstance(given, np.ndarray) else given
        )
        if not len(self.vectors):
            raise ValueError("an index needs at least one vector")
        factory = self.settings.factory
        if factory == "auto":
            count, dim = self.vectors.shape
            factory = factory_for(count, dim, self.settings.memory)
        self.factory = factory
        with faiss_threads(self.settings.threads):
            self._index = _build(self.vectors, factory, self.settings)

    def __len__(self) -> int:
        return len(self.vectors)

    def search(
        self, queries: Float[np.ndarray, "query dim"] | Rows, k: int
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
        with faiss_threads(self.settings.threads):
            for part in blocks(len(queries), CHUNK):
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


def all_neighbours(
    z: Float[np.ndarray, "row dim"] | Rows, k: int, settings: IndexSettings | None = None
) -> tuple[Float[np.ndarray, "row k"], Int[np.ndarray, "row k"]]:
    """The k nearest other rows of every row, best first: exact for few rows, nearly so for many.

    What was searched approximately is compared with an exact search of a few rows, and the log
    says what share of the true neighbours was found.

    Returns:
        Cosine similarity and row number; -1 and -1 where fewer than k were found.

    Raises:
        ValueError: k is not within 0..number of rows - 1, or the table of neighbours would take
            more than the memory that the settings allow.
    """
    given = settings or IndexSettings()
    if given.factory != "auto" or len(z) <= given.exact_rows:
        return VectorIndex(z, given).neighbours(k)
    if not 0 <= k < len(z):
        raise ValueError(f"k = {k} other neighbours asked among {len(z)} rows")
    if 24 * len(z) * k > given.memory:
        raise ValueError(
            f"{k} neighbours of {len(z)} rows take {24 * len(z) * k} bytes, allowed are "
            f"{given.memory}: raise index.memory or ask for fewer neighbours"
        )
    found = cell_neighbours(z, k, given.trees, given.cell, given.seed)
    share = recall(z, found[1], RECALL_QUERIES, given.seed)
    log.info("%d neighbours of %d rows: recall %.3f on a sample", k, len(z), share)
    return found


def _build(vectors: Vectors, factory: str, settings: IndexSettings) -> Any:
    import faiss

    try:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            inner = faiss.try_extract_index_ivf(index)
            if inner is not None:
                inner.cp.seed, inner.nprobe = settings.seed, settings.nprobe
            index.train(_training(vectors, inner, settings))
        for part in blocks(len(vectors), CHUNK):
            index.add(vectors[part])
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"FAISS cannot build '{factory}' over {vectors.shape}: {reason}") from None
    return index


def _training(vectors: Vectors, inner: Any, settings: IndexSettings) -> np.ndarray:
    """The rows that an index learns from: all, or as many as its lists need, drawn by the seed."""
    wanted = TRAIN_PER_LIST * max(1024, inner.nlist if inner is not None else 1)
    wanted = min(wanted, max(1024, settings.memory // (8 * vectors.shape[1])))
    if len(vectors) <= wanted:
        return np.ascontiguousarray(vectors[:])
    rows = np.random.default_rng(settings.seed).choice(len(vectors), wanted, replace=False)
    return np.ascontiguousarray(vectors[np.sort(rows)])
