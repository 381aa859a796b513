"""Balls around rows: which rows each holds, as bits, and how large they may be to stay pure."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from salearn.features.rows import blocks

PIECE = 256  # rows whose balls are found at a time
ASKED = 2048  # rows on which purity is measured
GRID = 1e-6  # cosines that differ by less are taken for equal


class Balls:
    """Number of rows that no ball holds yet, as an objective of the lazy greedy rule.

    Membership is one bit a pair, rows^2 / 8 bytes. Blank (zero) rows hold nothing and are in no
    ball.

    Args:
        labeled: rows whose balls are there already.
        cosine: of two rows at the radius of a ball.
    """

    def __init__(
        self,
        z: Float[np.ndarray, "row dim"],
        labeled: Float[np.ndarray, "labeled dim"],
        cosine: float,
    ) -> None:
        self.seen: np.ndarray = np.asarray(z.any(axis=1), dtype=bool)
        self.bar = cosine - GRID / 2
        bits = [np.packbits(self._within(z[part], z), axis=1) for part in blocks(len(z), PIECE)]
        self.bits = np.concatenate(bits)
        free = self.seen.copy()
        for part in blocks(len(labeled), PIECE):
            free &= ~self._within(labeled[part], z).any(axis=0)
        self.left = np.packbits(free)
        self.count = len(z)

    def _within(self, centres: np.ndarray, z: np.ndarray) -> np.ndarray:
        real: np.ndarray = np.any(centres, axis=1)
        found: np.ndarray = (centres @ z.T >= self.bar) & self.seen & real[:, None]
        return found

    def gains(self) -> Float[np.ndarray, " row"]:
        """Share of the rows that each ball would cover newly."""
        counts = np.empty(self.count)
        for part in blocks(self.count, PIECE):
            counts[part] = np.bitwise_count(self.bits[part] & self.left).sum(axis=1)
        return counts / self.count

    def gain(self, row: int) -> float:
        """The same of one ball."""
        return float(np.bitwise_count(self.bits[row] & self.left).sum() / self.count)

    def take(self, row: int) -> None:
        """Cover what the ball of the row holds."""
        self.left &= ~self.bits[row]


def radius(
    z: Float[np.ndarray, "row dim"],
    label: Int[np.ndarray, " row"],
    purity: float,
    rng: np.random.Generator,
) -> float:
    """The cosine at the largest radius at which a share `purity` of the balls are pure.

    A ball is pure as long as it ends before the nearest row of another label, so the radius is a
    quantile of the distances to those. Measured on 2048 drawn rows of a larger pool; -1 (one ball
    holds everything) if there is one label only.
    """
    seen = np.flatnonzero(z.any(axis=1))
    asked = seen
    if len(seen) > ASKED:
        asked = np.sort(rng.choice(seen, ASKED, replace=False))
    if len(np.unique(label[seen])) < 2:
        return -1.0
    other = np.empty(len(asked))
    for part in blocks(len(asked), PIECE):
        cosine = z[asked[part]] @ z[seen].T
        cosine[label[asked[part]][:, None] == label[seen]] = -1
        other[part] = cosine.max(axis=1)
    allowed = int(np.floor((1 - purity) * len(other) + 1e-9))  # balls that need not be pure
    return float(min(np.sort(other)[len(other) - 1 - allowed] + GRID, 1.0))
