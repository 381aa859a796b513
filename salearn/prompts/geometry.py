"""What a person can show on a slice: boxes and clicks; and what a model answers to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float

__all__ = ["Box", "Click", "Plane", "Prompt", "PromptView", "Prompted"]

Plane = Bool[np.ndarray, "h w"]


@dataclass(frozen=True)
class Box:
    """Edges of a box in pixels of a slice: rows top..bottom, columns left..right, ends excluded.

    Pixel (r, c) covers r..r+1 and c..c+1, so the box of one pixel has sides of 1.
    """

    top: float
    left: float
    bottom: float
    right: float

    @property
    def height(self) -> float:
        """Pixels."""
        return self.bottom - self.top

    @property
    def width(self) -> float:
        """Pixels."""
        return self.right - self.left


@dataclass(frozen=True)
class Click:
    """A click on the middle of a pixel: positive = this belongs to it, negative = this does not."""

    row: int
    column: int
    positive: bool = True


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """Everything that is shown at once for one class.

    Attributes:
        label: class 1..K, which names the text prompt.
        boxes: each around a part of the object.
        clicks: in the order in which they were made.
    """

    label: int
    boxes: tuple[Box, ...] = ()
    clicks: tuple[Click, ...] = ()


@runtime_checkable
class PromptView(Protocol):
    """One slice that a model has looked at: prompts are answered without looking again."""

    def segment(
        self, prompt: Prompt, previous: Float[np.ndarray, "h w"] | None = None
    ) -> Float[np.ndarray, "h w"]:
        """Logits of the object on the grid of the slice (above 0 = object).

        Args:
            previous: logits of the answer that is being corrected.
        """
        ...


@runtime_checkable
class Prompted(Protocol):
    """A model that answers prompts on slices."""

    def see(self, images: Sequence[Float[np.ndarray, "channel _h _w"]]) -> list[PromptView]:
        """A view of each slice.

        Args:
            images: intensities -1..1, all of one size.

        Raises:
            DataError: they are of several sizes.
        """
        ...
