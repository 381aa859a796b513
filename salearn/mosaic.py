"""What the users of a mosaic may ask of it: slices of a volume laid side by side in one image."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8


@runtime_checkable
class MosaicLayout(Protocol):
    """Where every slice of one volume lies, and the way there and back."""

    @property
    def mosaics(self) -> int:
        """How many mosaics one volume makes."""
        ...

    def stitch(
        self, image: Float[np.ndarray, "channel _x _y _z"]
    ) -> Float[np.ndarray, "mosaic channel side side"]:
        """The volume as mosaics."""
        ...

    def stitch_mask(self, mask: UInt8[np.ndarray, "_x _y _z"]) -> UInt8[np.ndarray, "mosaic s s"]:
        """Its mask as mosaics; void is 255."""
        ...

    def unstitch(
        self, probabilities: Float[np.ndarray, "mosaic class side side"]
    ) -> Float[np.ndarray, "class _x _y _z"]:
        """Probabilities of mosaics on the grid of the volume.

        Class 0 is the background: it has all of what was cropped away and no mosaic shows.
        """
        ...


@runtime_checkable
class MosaicStitcher(Protocol):
    """Makes the layout of a volume."""

    @property
    def settings(self) -> Any:
        """The settings it obeys, for records."""
        ...

    @property
    def axis(self) -> int:
        """The slice axis: 0, 1, 2 = x, y, z."""
        ...

    def layout(self, shape: tuple[int, int, int], canvas: int, token: int) -> MosaicLayout:
        """The layout for a volume of this shape on canvases of `canvas` pixels a side."""
        ...


def unstitch_foreground(
    layout: MosaicLayout, probabilities: Float[np.ndarray, "mosaic class side side"]
) -> Float[np.ndarray, "class _x _y _z"]:
    """`unstitch` of maps without a background among them: 0 where the volume was cropped away."""
    background = np.zeros_like(probabilities[:, :1])
    return layout.unstitch(np.concatenate([background, probabilities], axis=1))[1:]
