"""Simulated boxes: around the parts of an object, each side moved outward at random."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int
from scipy import ndimage

from salearn.errors import ConfigError
from salearn.prompts.geometry import Box

EIGHT = np.ones((3, 3), dtype=bool)


def components(mask: Bool[np.ndarray, "h w"], most: int) -> list[Bool[np.ndarray, "h w"]]:
    """The largest parts of an object, 8-connected, largest first; ties by the first pixel."""
    found, count = ndimage.label(mask, EIGHT)
    sizes: Int[np.ndarray, " part"] = np.bincount(found.ravel(), minlength=count + 1)[1:]
    order = np.argsort(-sizes, kind="stable")[:most]
    return [found == part + 1 for part in order]


def tight_box(mask: Bool[np.ndarray, "h w"]) -> Box:
    """The smallest box that holds an object.

    Raises:
        ValueError: there is none.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        raise ValueError("an empty mask has no box")
    return Box(float(rows[0]), float(columns[0]), float(rows[-1] + 1), float(columns[-1] + 1))


def jitter_box(box: Box, share: float, shape: tuple[int, int], rng: np.random.Generator) -> Box:
    """A box whose sides are moved outward, each by U(0, share x length of that side), clipped.

    Top and bottom move by shares of the height, left and right by shares of the width. With a
    share of 0 the box is returned as it is.

    Args:
        share: largest shift; 0.1 is that of finetune-SAM (arXiv 2404.09957).
        shape: of the slice, rows and columns, which the box is clipped to.

    Raises:
        ConfigError: a negative share (boxes that cut off a part are not simulated).
    """
    if share < 0:
        raise ConfigError(f"interactive.jitter: {share} is negative; sides only move outward")
    top, bottom, left, right = share * rng.random(4) * np.repeat((box.height, box.width), 2)
    return Box(
        max(0.0, box.top - float(top)),
        max(0.0, box.left - float(left)),
        min(float(shape[0]), box.bottom + float(bottom)),
        min(float(shape[1]), box.right + float(right)),
    )


def simulated_boxes(
    mask: Bool[np.ndarray, "h w"], share: float, most: int, rng: np.random.Generator
) -> tuple[Box, ...]:
    """A jittered box around each of the `most` largest parts of an object; none if it is empty."""
    height, width = mask.shape
    parts = components(mask, most)
    return tuple(jitter_box(tight_box(part), share, (height, width), rng) for part in parts)
