"""Many unit vectors without many copies: a view of a (memory-mapped, float16) array by blocks."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

BLOCK = 4096  # rows brought to float32 at a time
CACHED = 512  # the same where several passes follow: at 256 numbers a row they stay in the cache
SIGN_AND_VALUE = np.int32(0x8FFFE000 - 2**32)
HALF_TO_SINGLE = np.float32(2.0**112)  # 127 - 15: the exponents count from different places


def unit_rows(vectors: Float[np.ndarray, "row dim"]) -> Float[np.ndarray, "row dim"]:
    """The rows scaled to length 1, float32, contiguous; a zero row has no direction and stays zero.

    Raises:
        ValueError: a value is not finite.
    """
    unit = np.empty(vectors.shape, dtype=np.float32)
    for part in blocks(len(vectors), CACHED):
        rows = _single(vectors[part], part.start)
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        np.divide(rows, np.where(length > 0, length, 1), out=unit[part])
    return unit


def _single(vectors: np.ndarray, first: int) -> np.ndarray:
    """A block as float32; what is not finite is refused."""
    half = vectors.dtype == np.float16
    finite = _finite_halves(vectors) if half else np.isfinite(vectors).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)[:5] + first
        raise ValueError(f"embeddings must be finite; rows {bad.tolist()} are not")
    return singles(vectors) if half else np.array(vectors, dtype=np.float32)


def _finite_halves(halves: np.ndarray) -> np.ndarray:
    """Rows whose exponents are not all ones; `isfinite` of float16 is ten times slower."""
    exponents = np.ascontiguousarray(halves).view(np.int16) & np.int16(0x7C00)
    finite: np.ndarray = (exponents != 0x7C00).all(axis=1)
    return finite


def singles(halves: Float[np.ndarray, "*row dim"]) -> Float[np.ndarray, "*row dim"]:
    """Finite float16 as float32, three times faster than `astype` (four passes within the cache).

    The bits are moved to where float32 has them; the exponent is then put right by a power of two.
    """
    bits = np.ascontiguousarray(halves).view(np.int16).astype(np.int32)
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, SIGN_AND_VALUE, out=bits)
    values = bits.view(np.float32)
    np.multiply(values, HALF_TO_SINGLE, out=values)
    return values


class Rows:
    """Rows of length 1 over an array that stays where it is; what is asked for comes as float32.

    Stands in for the float32 array that would not fit: `rows[part]`, `rows @ matrix` and
    `len(rows)` give what the array of unit rows would. A zero row stays zero.

    Args:
        vectors: one row each, float16 or float32; a memory map is read, never copied as a whole.

    Raises:
        ValueError: a value is not finite.
    """

    def __init__(self, vectors: Float[np.ndarray, "row dim"]) -> None:
        self.vectors = vectors
        self.shape: tuple[int, int] = (len(vectors), vectors.shape[1])
        self._half = vectors.dtype == np.float16
        self._scale = np.ones((len(vectors), 1), dtype=np.float32)
        for part in blocks(len(vectors)):
            self._scale[part] = self._inverse_lengths(part)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, part: Any) -> Float[np.ndarray, "*part dim"]:
        """Unit rows of a slice, of row numbers, or of one row."""
        raw = self._raw(part)
        np.multiply(raw, self._scale[part], out=raw)
        return raw

    def __matmul__(self, other: Float[np.ndarray, "dim *k"]) -> Float[np.ndarray, "row *k"]:
        found = np.empty((len(self), *other.shape[1:]), dtype=np.float32)
        for part in blocks(len(self)):
            found[part] = self[part] @ other
        return found

    @cached_property
    def blank(self) -> Bool[np.ndarray, " row"]:
        """Rows that are zero: the embedding of an empty slice."""
        empty: np.ndarray = self._scale[:, 0] == 0
        return empty

    def _raw(self, part: Any) -> np.ndarray:
        rows = np.asarray(self.vectors[part])
        if self._half:
            return singles(rows)
        return np.array(rows, dtype=np.float32)

    def _inverse_lengths(self, part: slice) -> np.ndarray:
        length = np.linalg.norm(_single(self.vectors[part], part.start), axis=1, keepdims=True)
        inverse: np.ndarray = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        return inverse


class OneReading:
    """Rows that are read once, block by block: `rows[slice]` scales and checks them as it goes.

    Spares the pass for lengths that `Rows` begins with, and the copy of an array of unit rows.
    """

    def __init__(self, vectors: Float[np.ndarray, "row dim"]) -> None:
        self.vectors = vectors

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, part: slice) -> Float[np.ndarray, "part dim"]:
        """Unit rows.

        Raises:
            ValueError: a value is not finite.
        """
        return unit_rows(np.asarray(self.vectors[part]))


Vectors = np.ndarray | Rows


def open_rows(vectors: Float[np.ndarray, "row dim"], memory: int) -> Vectors:
    """Unit rows as a float32 array if that takes at most half of `memory` bytes, else as `Rows`."""
    count, dim = vectors.shape
    return unit_rows(vectors) if 4 * count * dim <= memory // 2 else Rows(vectors)


def blank_rows(z: Vectors) -> Bool[np.ndarray, " row"]:
    """Rows that are zero."""
    if isinstance(z, Rows):
        return z.blank
    return np.asarray(~z.any(axis=1), dtype=bool)


def blocks(count: int, size: int = BLOCK) -> Iterator[slice]:
    """0..count in pieces of at most `size`."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
