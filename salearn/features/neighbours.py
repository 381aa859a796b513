"""The k nearest other rows of every row of a large pool: all pairs within cells of several trees.

An inverted index visits a few lists for one query after the other. Here a list asks for all of its
rows at once, so that the work is matrix products; several trees with other borders find what one
tree's borders cut off. Measured against an exact search in docs/scale.md.
"""

from __future__ import annotations

import logging

import numpy as np
from jaxtyping import Float, Int

from salearn.features.clusters import tree_cells
from salearn.features.rows import Vectors, blocks

log = logging.getLogger(__name__)

ID_BITS = 32
ID_MASK = np.int64(2**ID_BITS - 1)
SIMILARITIES = 2**18  # pairs of a block: 4 bytes each, then 16 as keys


def cell_neighbours(
    rows: Vectors, k: int, trees: int, cell: int, seed: int
) -> tuple[Float[np.ndarray, "row k"], Int[np.ndarray, "row k"]]:
    """The k most similar other rows of every row, best first; most of them are the true ones.

    Cost: `trees` * rows * about 1.3 `cell` * dim multiplications; memory: 24 bytes * rows * k.

    Args:
        cell: rows of a cell on average; at least k + 1 are taken.

    Returns:
        Cosine similarity and row number; -1 and -1 where fewer than k were found.
    """
    found = np.zeros((len(rows), k), dtype=np.int64)
    size = max(cell, k + 1)
    for tree in range(trees):
        for members in tree_cells(rows, size, seed + tree, least=min(k + 1, len(rows))):
            _note(found, rows[members], members, k)
    for part in blocks(len(rows)):
        found[part] = np.sort(found[part], axis=1)[:, ::-1]
    return _unpacked(found)


def _note(found: np.ndarray, z: np.ndarray, members: np.ndarray, k: int) -> None:
    """Enter the nearest members of a cell for each of its members."""
    for part in blocks(len(members), max(1, SIMILARITIES // len(members))):
        own = np.arange(part.start, part.stop)
        similarity = z[part] @ z.T
        similarity[own - part.start, own] = -1
        keys = _packed(similarity, members)
        keys[own - part.start, own] = 0
        best = min(k, len(members) - 1)
        keys = np.partition(keys, len(members) - best, axis=1)[:, len(members) - best :]
        found[members[part]] = _merged(found[members[part]], keys)


def _packed(similarity: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Similarity (as the bits of 1 + s, which rise with s) and row number in one sortable integer.

    0 stands for nothing. The similarities are used up.
    """
    similarity += 1
    np.maximum(similarity, np.finfo(np.float32).tiny, out=similarity)
    keys: np.ndarray = similarity.view(np.int32).astype(np.int64)
    np.left_shift(keys, ID_BITS, out=keys)
    np.bitwise_or(keys, rows, out=keys)
    return keys


def _unpacked(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    similarity = (keys >> ID_BITS).astype(np.int32).view(np.float32) - np.float32(1)
    rows = np.where(keys > 0, keys & ID_MASK, -1).astype(np.int32)
    return np.clip(similarity, -1, 1, out=similarity), rows


def _merged(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """The best distinct entries of both, as many as `old` has."""
    if not old.any():
        out = np.zeros_like(old)
        out[:, : new.shape[1]] = new
        return out
    both = np.concatenate([old, new], axis=1)
    by_row = np.sort(((both & ID_MASK) << ID_BITS) | (both >> ID_BITS), axis=1)
    twice = (by_row[:, 1:] >> ID_BITS) == (by_row[:, :-1] >> ID_BITS)
    by_row[:, :-1][twice] = 0  # the later of the two has the larger similarity
    keys = ((by_row & ID_MASK) << ID_BITS) | (by_row >> ID_BITS)
    kept = old.shape[1]
    best: np.ndarray = np.partition(keys, keys.shape[1] - kept, axis=1)[:, -kept:]
    return best


def recall(rows: Vectors, found: Int[np.ndarray, "row k"], queries: int, seed: int) -> float:
    """Share of the true k nearest neighbours of some rows, drawn by the seed, that were found.

    Neighbours that are as near as the k-th (to 1e-6) count as true. Costs one pass over the rows.
    """
    k = found.shape[1]
    asked = np.sort(
        np.random.default_rng(seed).choice(len(rows), min(queries, len(rows)), replace=False)
    )
    z = rows[asked]
    best = np.full((len(asked), k), -np.inf, dtype=np.float32)
    for part in blocks(len(rows)):
        similarity = z @ rows[part].T
        inside = (asked >= part.start) & (asked < part.stop)
        similarity[inside, asked[inside] - part.start] = -np.inf
        better = (similarity > best.min(axis=1, keepdims=True)).any(axis=0)  # few, after a while
        both = np.concatenate([best, similarity[:, better]], axis=1)
        best = np.partition(both, both.shape[1] - k, axis=1)[:, -k:]
    bar = best.min(axis=1) - 1e-6
    hits = [
        sum(float(z[i] @ rows[int(row)]) >= bar[i] for row in found[asked[i]] if row >= 0)
        for i in range(len(asked))
    ]
    return float(min(1.0, sum(hits) / (k * len(asked))))
