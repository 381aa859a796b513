"""Pictures for a pretext: unlabeled volumes as mosaics, or slice by slice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from salearn.models.pixels import Window, three_channels
from salearn.mosaic import MosaicStitcher
from salearn.resize import resize_linear

MOST = 16  # pictures of one volume in a draw: a batch of slices shows many volumes


class PoolPictures:
    """Pictures of volumes, as fine-tuning stitches them; masks are not known here.

    Args:
        volumes: normalised images, memory maps allowed.
        side, token: of the pictures and of the model's patch, pixels.
        crop: area of the part of each slice that is shown, share of the slice.
        flips: axes that may be mirrored.
    """

    def __init__(
        self,
        volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]],
        stitcher: MosaicStitcher,
        side: int,
        token: int,
        crop: tuple[float, float] = (1.0, 1.0),
        flips: Sequence[int] = (),
    ) -> None:
        self._volumes = volumes
        self._windows = [Window.of(np.asarray(volume)) for volume in volumes]
        self._stitcher = stitcher
        self._size = (side, token)
        self._crop, self._flips = crop, tuple(flips)
        layouts = (stitcher.layout(v.shape[1:], *self._size) for v in volumes)
        self._counts = [layout.mosaics for layout in layouts]

    def __len__(self) -> int:
        """Mosaics (or slices) of all volumes."""
        return sum(self._counts)

    def draw(self, count: int, rng: np.random.Generator) -> Float[Tensor, "b 3 side side"]:
        """Augmented pictures of volumes in random order, each volume cropped and flipped whole."""
        found: list[np.ndarray] = []
        order: list[int] = []
        while len(found) < count:
            order = order or rng.permutation(len(self._volumes)).tolist()
            pictures = self._stitched(order.pop(), rng)
            room = min(count - len(found), MOST)
            found.extend(pictures[rng.permutation(len(pictures))[:room]])
        return three_channels(torch.from_numpy(np.stack(found)))

    def plain(self, most: int) -> Float[Tensor, "b 3 side side"]:
        """At most so many as they are, evenly spread over all."""
        wanted = np.unique(np.linspace(0, len(self) - 1, min(most, len(self))).round().astype(int))
        starts = np.cumsum([0, *self._counts])
        found = []
        for index in range(len(self._volumes)):
            mine = wanted[(wanted >= starts[index]) & (wanted < starts[index + 1])] - starts[index]
            if len(mine):
                found.append(self._stitched(index)[mine])
        return three_channels(torch.from_numpy(np.concatenate(found)))

    def _stitched(
        self, index: int, rng: np.random.Generator | None = None
    ) -> Float[np.ndarray, "picture channel side side"]:
        """All pictures of a volume; with a generator of an augmented view of it."""
        image = self._windows[index].scaled(np.asarray(self._volumes[index]))
        x, y, z = image.shape[1:]
        layout = self._stitcher.layout((x, y, z), *self._size)
        return layout.stitch(image if rng is None else self._view(image, rng))

    def _view(
        self, image: Float[np.ndarray, "channel x y z"], rng: np.random.Generator
    ) -> Float[np.ndarray, "channel x y z"]:
        """The same part of every slice, brought back to the size of the slice."""
        for axis in self._flips:
            if rng.random() < 0.5:
                image = np.flip(image, axis + 1)
        slices = np.moveaxis(image, self._stitcher.axis + 1, 0)
        share = float(rng.uniform(*self._crop))
        height, width = (max(1, round(share**0.5 * side)) for side in slices.shape[2:])
        y, x = (
            int(rng.integers(side - part + 1))
            for side, part in zip(slices.shape[2:], (height, width), strict=True)
        )
        shown = np.ascontiguousarray(slices[..., y : y + height, x : x + width])
        whole = resize_linear(shown, (slices.shape[2], slices.shape[3]))
        return np.ascontiguousarray(np.moveaxis(whole, 0, self._stitcher.axis + 1))
