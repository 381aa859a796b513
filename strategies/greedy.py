"""Greedy choice under a running largest cosine to what is covered: exact, lazy, O(N d) memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from salearn.features.rows import Rows, Vectors, blocks
from strategies.limits import Limits
from strategies.terms import diversity

BLOCK = 512  # rows that are brought up to date together
LARGE_BLOCK = 2048  # the same above LARGE rows, where the number of blocks costs more than they do
LARGE = 200_000
PIECE = 4096  # rows brought to float32 at a time

Score = Callable[[np.ndarray, slice], np.ndarray]  # (v of the rows, which rows) -> score


@dataclass(frozen=True)
class Batch:
    """What a greedy rule chose.

    Attributes:
        rows: chosen rows in order of choice.
        scores: of every row: when it was picked, or at the end.
    """

    rows: Int[np.ndarray, " pick"]
    scores: Float[np.ndarray, " unit"]


def product(static: Float[np.ndarray, " unit"]) -> Score:
    """Score = static part of a unit * v."""
    return lambda v, part: static[part] * v


class _Cover:
    """Largest cosine of every row to anything covered, brought up to date block by block.

    A block always sees the picks one after the other through the same matrix-vector product, so a
    value does not depend on when it is computed.
    """

    def __init__(self, z: Vectors, nearest: np.ndarray, block: int) -> None:
        self.z = z
        self.picks: list[int] = []
        self.parts = list(blocks(len(z), block))
        self.nearest = nearest
        self._picked = np.zeros((0, z.shape[1]), dtype=np.float32)
        self._seen = [0] * len(self.parts)

    def add(self, row: int) -> None:
        """Cover what is near to this row too."""
        self.picks.append(row)
        self._picked = np.concatenate([self._picked, self.z[row : row + 1]])

    def update(self, b: int, together: bool = False) -> np.ndarray:
        """The up-to-date largest cosines of block b.

        Args:
            together: all picks in one matrix product: several times faster, and equal to the 6th
                decimal only, so it is kept for the scores at the end.
        """
        part, new = self.parts[b], self._picked[self._seen[b] :]
        near = self.nearest[part]
        if len(new):
            for piece in blocks(len(near), len(near) if isinstance(self.z, np.ndarray) else PIECE):
                rows = self.z[part.start + piece.start : part.start + piece.stop]
                _raise(near[piece], rows, new, together)
            np.clip(near, -1, 1, out=near)
        self._seen[b] = len(self.picks)
        return near


def _raise(near: np.ndarray, rows: np.ndarray, new: np.ndarray, together: bool) -> None:
    """Raise the largest cosines by those to the new picks, in place."""
    if together:
        np.maximum(near, (rows @ new.T).max(axis=1), out=near)
        return
    for pick in new:
        np.maximum(near, rows @ pick, out=near)


def _nearest(z: Vectors, labeled: Vectors, block: int) -> np.ndarray:
    """Largest cosine of every row to a labeled one; -1 if there is none."""
    nearest = np.full(len(z), -1.0, dtype=np.float32)
    if len(labeled):
        known = labeled[:]
        for part in blocks(len(z), min(block, PIECE)):
            nearest[part] = np.clip((z[part] @ known.T).max(axis=1), -1, 1)
    return nearest


class _Greedy:
    """One run of the greedy rule; `bounds` are upper bounds of the best free score of a block."""

    def __init__(
        self, cover: _Cover, score: Score, limits: Limits, order: np.ndarray, lazy: bool
    ) -> None:
        self.cover, self.score, self.limits = cover, score, limits
        self.order, self.lazy = order, lazy
        self.bounds = np.full(len(cover.parts), np.inf)
        self.heads = np.full(len(cover.parts), -1, dtype=np.int64)

    def refresh(self, b: int) -> None:
        """The best free row of block b, ties by the drawn order; -1 and -inf if none is free."""
        part = self.cover.parts[b]
        near = self.cover.update(b)
        free = self.limits.free(part, near)
        values = np.where(free, self.score(diversity(near), part), -np.inf)
        top = values.max()
        tied = np.flatnonzero(values == top) + part.start
        self.bounds[b] = top
        self.heads[b] = tied[self.order[tied].argmin()] if top > -np.inf else -1

    def head(self) -> int:
        """The best free row of all; -1 if none is free."""
        best = -np.inf
        fresh: list[int] = []
        for b in np.argsort(-self.bounds, kind="stable"):
            if self.lazy and (self.bounds[b] < best or self.bounds[b] == -np.inf):
                break
            self.refresh(int(b))
            fresh.append(int(b))
            best = max(best, self.bounds[b])
        tied = [self.heads[b] for b in fresh if self.bounds[b] == best and self.heads[b] >= 0]
        return int(min(tied, key=lambda row: self.order[row])) if tied else -1

    def next(self) -> int:
        """The next pick, rules being relaxed if nothing is free."""
        row = self.head()
        while row < 0:
            if not self.limits.relax():
                raise ValueError("no unit is left to pick")
            self.bounds[:] = np.inf
            row = self.head()
        return row


def greedy(
    z: Float[np.ndarray, "unit dim"] | Rows,
    labeled: Float[np.ndarray, "labeled dim"] | Rows,
    n: int,
    score: Score,
    limits: Limits,
    rng: np.random.Generator,
    *,
    nearest: Float[np.ndarray, " unit"] | None = None,
    lazy: bool = True,
    pool_wide: bool = False,
) -> Batch:
    """Pick n rows, each the best given the labeled ones and the picks before it.

    Lazy evaluation gives exactly the picks of the eager one: a block of rows is brought up to
    date only if its old best score, which can only fall, could still win. Cost at most n * N * d.

    Args:
        score: must not rise as v falls to smaller values, unless `pool_wide`.
        nearest: largest cosine of each row to a labeled one, where it is known already.
        pool_wide: the score of a row depends on all rows (ranks of v): everything is brought up to
            date for each pick.
    """
    block = max(len(z), 1) if pool_wide else BLOCK if len(z) <= LARGE else LARGE_BLOCK
    covered = _nearest(z, labeled, block) if nearest is None else nearest.astype(np.float32)
    cover = _Cover(z, covered, block)
    run = _Greedy(cover, score, limits, rng.permutation(len(z)), lazy)
    values = np.zeros(n)
    for step in range(n):
        row = run.next()
        values[step] = run.bounds[row // block]
        cover.add(row)
        limits.take(row)
    final = np.zeros(len(z))
    for b, part in enumerate(cover.parts):
        final[part] = score(diversity(cover.update(b, together=True)), part)
    final[cover.picks] = values
    return Batch(rows=np.array(cover.picks, dtype=np.int64), scores=final)
