"""Slices of any size into the square that SAM3 takes, prompts with them, and answers back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salearn.errors import DataError
from salearn.models.pixels import three_channels
from salearn.prompts.geometry import Box, Click

Shape = tuple[int, int]


def as_input(
    images: Sequence[Float[np.ndarray, "channel _h _w"]], side: int
) -> Float[Tensor, "b 3 side side"]:
    """Slices as SAM3 sees them: resized straight to a square (bilinear, antialiased), 3 channels.

    Raises:
        DataError: the slices are of several sizes.
    """
    sizes = sorted({(image.shape[-2], image.shape[-1]) for image in images})
    if len(sizes) != 1:
        shown = ", ".join(f"{height} x {width}" for height, width in sizes[:4]) or "none"
        raise DataError(
            f"images of several sizes in one batch ({shown}): show the slices of one case at a "
            "time, or resize them to one size first"
        )
    stacked = torch.from_numpy(np.stack(images).astype(np.float32))
    squares = functional.interpolate(
        stacked, (side, side), mode="bilinear", align_corners=False, antialias=True
    )
    return three_channels(squares)


def as_answer(logits: Float[Tensor, "h w"], shape: Shape) -> Float[np.ndarray, "_h _w"]:
    """Logits on the grid of the slice."""
    resized = functional.interpolate(
        logits[None, None].float(), shape, mode="bilinear", align_corners=False
    )
    answer: np.ndarray = resized[0, 0].detach().cpu().numpy()
    return answer


def box_shares(boxes: Sequence[Box], shape: Shape) -> Float[Tensor, "box 4"]:
    """(left, top, right, bottom) as shares of the slice, 0..1."""
    height, width = shape
    rows = [(b.left / width, b.top / height, b.right / width, b.bottom / height) for b in boxes]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


def click_pixels(clicks: Sequence[Click], shape: Shape, side: int) -> Float[Tensor, "click 2"]:
    """(x, y) of clicks in pixels of the square, counted from the middle of the first pixel.

    The middle of a pixel of the slice stays the middle of that piece of the square. transformers
    adds the half pixel itself, so it is taken off here.
    """
    height, width = shape
    rows = [
        ((c.column + 0.5) * side / width - 0.5, (c.row + 0.5) * side / height - 0.5) for c in clicks
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 2)
