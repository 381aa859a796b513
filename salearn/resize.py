"""Resizing of the last two axes with numpy: linear for images, nearest for masks."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from jaxtyping import Float, Shaped


def resize_linear(
    array: Float[np.ndarray, "*lead _h _w"], size: tuple[int, int]
) -> Float[np.ndarray, "*lead _h2 _w2"]:
    """Linear interpolation; the kernel widens when shrinking, so that nothing aliases.

    Weights of each output pixel sum to 1, so probabilities stay probabilities. Pixel centres are
    at half-integers (the convention of Pillow and of `align_corners=False`).
    """
    rows = _weights(array.shape[-2], size[0]).astype(array.dtype)
    columns = _weights(array.shape[-1], size[1]).astype(array.dtype)
    resized: np.ndarray = rows @ array @ columns.T
    return resized


def resize_nearest(
    array: Shaped[np.ndarray, "*lead _h _w"], size: tuple[int, int]
) -> Shaped[np.ndarray, "*lead _h2 _w2"]:
    """Nearest neighbour: values are kept as they are."""
    rows, columns = _nearest(array.shape[-2], size[0]), _nearest(array.shape[-1], size[1])
    return array[..., rows[:, None], columns]


@lru_cache(maxsize=64)
def _weights(before: int, after: int) -> Float[np.ndarray, "after before"]:
    scale = before / after
    support = max(scale, 1.0)
    centres = (np.arange(after) + 0.5) * scale - 0.5
    distance = np.abs(np.arange(before)[None, :] - centres[:, None]) / support
    weights = np.maximum(0.0, 1.0 - distance)
    normed: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    return normed


def _nearest(before: int, after: int) -> np.ndarray:
    index = ((np.arange(after) + 0.5) * before / after).astype(int)
    clipped: np.ndarray = np.clip(index, 0, before - 1)
    return clipped
