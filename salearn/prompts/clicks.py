"""Simulated clicks: where a person would click to show an object, or to correct an answer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from salearn.prompts.boxes import components
from salearn.prompts.geometry import Click

Larger = Literal["area", "depth"]
TOP = 0.1  # of the distances inside a part: where points are drawn from


def depth(region: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance of each pixel of a region to what is not of it, pixels; 0 outside.

    What lies outside the slice does not belong to it, so that clicks keep away from the border.
    """
    found: np.ndarray = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    return found


def next_click(
    answer: Bool[np.ndarray, "h w"],
    reference: Bool[np.ndarray, "h w"],
    clicked: Sequence[Click] = (),
    known: Bool[np.ndarray, "h w"] | None = None,
    larger: Larger = "area",
) -> Click | None:
    """The click that corrects an answer; None where nothing is left to correct.

    Of the two error regions, missed (false negatives) and too much (false positives), the larger
    one is clicked on, at the maximum of its distance transform: positive on what was missed,
    negative on what is too much. Ties go to the missed region, and to the first pixel by rows.

    Args:
        clicked: pixels that were clicked before; they are not clicked again.
        known: pixels with a reference; others are no errors.
        larger: by number of pixels, or by the maximum of the distance transform (as RITM).

    Source: the usual simulation of interactive segmentation; "larger" is stated there in both ways.
    """
    missed, extra = reference & ~answer, answer & ~reference
    if known is not None:
        missed, extra = missed & known, extra & known
    depths = [_unclicked(depth(missed), clicked), _unclicked(depth(extra), clicked)]
    sizes = [float(missed.sum()), float(extra.sum())]
    if larger == "depth":
        sizes = [float(d.max()) for d in depths]
    for which in sorted((0, 1), key=lambda i: -sizes[i]):
        if depths[which].max() > 0:
            row, column = np.unravel_index(int(depths[which].argmax()), answer.shape)
            return Click(int(row), int(column), positive=which == 0)
    return None


def first_points(
    mask: Bool[np.ndarray, "h w"], points: int, most: int, rng: np.random.Generator
) -> tuple[tuple[Click, ...], Bool[np.ndarray, "h w"]]:
    """Positive points inside an object, and the part of it that they ask for.

    Points are drawn from the top 10 % of the distance transform of the `most` largest parts
    (8-connected), in turn, largest part first, each pixel at most once.

    Returns:
        The points (fewer if there are not as many pixels), and the union of the parts they lie in:
        what is not prompted is not asked for.

    Source: finetune-SAM (arXiv 2404.09957); in which order parts get their points is ours.
    """
    parts = components(mask, most)
    drawn = [_top_pixels(part, rng) for part in parts]
    turns = max((len(pixels) for pixels in drawn), default=0)
    order = [(p, turn) for turn in range(turns) for p in range(len(parts)) if turn < len(drawn[p])]
    chosen = order[:points]
    clicks = tuple(Click(int(drawn[p][turn][0]), int(drawn[p][turn][1])) for p, turn in chosen)
    target = np.zeros_like(mask)
    for p in {p for p, _ in chosen}:
        target |= parts[p]
    return clicks, target


def _top_pixels(part: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Pixels of a part among the top 10 % of its distances, shuffled; rows of (row, column)."""
    distance = depth(part)
    floor = np.quantile(distance[part], 1 - TOP)
    pixels = np.argwhere(part & (distance >= floor))
    shuffled: np.ndarray = rng.permutation(pixels)
    return shuffled


def _unclicked(distance: np.ndarray, clicked: Sequence[Click]) -> np.ndarray:
    for click in clicked:
        distance[click.row, click.column] = 0
    return distance
