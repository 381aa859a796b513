"""Resizing of two axes with numpy: linear for images, nearest for masks."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Shaped

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def resize_linear(
    array: Float[np.ndarray, "*lead _h _w"], size: tuple[int, int]
) -> Float[np.ndarray, "*lead _h2 _w2"]:
    """Linear interpolation; the kernel widens when shrinking, so that nothing aliases.

    Weights of each output pixel sum to 1, so probabilities stay probabilities. Pixel centres are
    at half-integers (the convention of Pillow and of `align_corners=False`).
    """
    return resize_axis(resize_axis(array, array.ndim - 2, size[0]), array.ndim - 1, size[1])


def resize_axis(
    array: Float[np.ndarray, "*before"], axis: int, size: int
) -> Float[np.ndarray, "*after"]:
    """`resize_linear` along one axis; the array is read as it lies.

    Before the last axis an output row is the sum of a few weighted input rows (a sparse matrix);
    along the last axis rows are short, and a dense product is faster.
    """
    before = array.shape[axis]
    lead, rest = array.shape[:axis], array.shape[axis + 1 :]
    if not rest or array.dtype not in (np.float32, np.float64):
        weights = _weights(before, size).astype(array.dtype)
        moved: np.ndarray = np.moveaxis(np.moveaxis(array, axis, -1) @ weights.T, -1, axis)
        return moved
    mixed = _mixing(before, size, math.prod(lead), array.dtype.str)
    rows: np.ndarray = mixed @ array.reshape(math.prod(lead) * before, math.prod(rest))
    return rows.reshape(*lead, size, *rest)


def resize_nearest(
    array: Shaped[np.ndarray, "*lead _h _w"], size: tuple[int, int]
) -> Shaped[np.ndarray, "*lead _h2 _w2"]:
    """Nearest neighbour: values are kept as they are."""
    return nearest_axis(nearest_axis(array, array.ndim - 2, size[0]), array.ndim - 1, size[1])


def nearest_axis(
    array: Shaped[np.ndarray, "*before"], axis: int, size: int
) -> Shaped[np.ndarray, "*after"]:
    """`resize_nearest` along one axis."""
    return np.take(array, _nearest(array.shape[axis], size), axis)


@lru_cache(maxsize=64)
def _weights(before: int, after: int) -> Float[np.ndarray, "after before"]:
    scale = before / after
    support = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(before)[None, :] - centres[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distance)
    normed: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normed


@lru_cache(maxsize=16)
def _mixing(before: int, after: int, times: int, dtype: str) -> csr_array:
    """The weights as a sparse matrix, `times` of them down its diagonal."""
    from scipy.sparse import block_diag, csr_array

    weights = csr_array(_weights(before, after).astype(dtype))
    return csr_array(block_diag([weights] * times, format="csr", dtype=dtype))


def _nearest(before: int, after: int) -> np.ndarray:
    index = ((np.arange(after) + 0.5) * before / after).astype(int)
    clipped: np.ndarray = np.clip(index, 0, before - 1)
    return clipped
