"""Stitching and back against a loop over slices, written plainly; the answers must be equal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.common import Other, Row, compare, emit, one_thread

if TYPE_CHECKING:
    from loops.stitch import Layout

LOOP = "loop over slices"


@dataclass(frozen=True)
class Loop:
    """Slices `size` large, row by row into tiles of `pitch`, from the first corner of a canvas."""

    canvas: int
    pitch: int
    size: tuple[int, int]
    held: int  # slices of one mosaic
    resized: bool = False

    @property
    def side(self) -> int:
        return self.canvas // self.pitch

    def place(self, index: int) -> tuple[int, slice, slice]:
        """Mosaic, rows and columns of a slice."""
        mosaic, tile = divmod(index, self.held)
        row, column = divmod(tile, self.side)
        margins = [(self.pitch - side) // 2 for side in self.size]
        y, x = row * self.pitch + margins[0], column * self.pitch + margins[1]
        return mosaic, slice(y, y + self.size[0]), slice(x, x + self.size[1])

    def stitch(self, slices: np.ndarray) -> np.ndarray:
        """Mosaics of slices "slice channel h w", which are resized or cropped to their tile."""
        count = -(-len(slices) // self.held)
        mosaics = np.zeros((count, slices.shape[1], self.canvas, self.canvas), np.float32)
        for index, part in enumerate(slices):
            mosaic, y, x = self.place(index)
            mosaics[mosaic, :, y, x] = self.fitted(part)
        return mosaics

    def fitted(self, part: np.ndarray) -> np.ndarray:
        if self.resized:
            return by_torch(part, self.size)
        y, x = ((a - b) // 2 for a, b in zip(part.shape[1:], self.size, strict=True))
        return part[:, y : y + self.size[0], x : x + self.size[1]]

    def unstitch(self, mosaics: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
        """Slices "slice class h w" of the original size; what was cropped away is background."""
        depth, height, width = shape
        slices = np.zeros((depth, mosaics.shape[1], height, width), np.float32)
        slices[:, 0] = 1
        top, left = (height - self.size[0]) // 2, (width - self.size[1]) // 2
        for index in range(depth):
            mosaic, y, x = self.place(index)
            part = mosaics[mosaic, :, y, x]
            if self.resized:
                slices[index] = by_torch(part, (height, width))
            else:
                slices[index, :, top : top + self.size[0], left : left + self.size[1]] = part
        return slices


def by_torch(part: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import torch

    resized = torch.nn.functional.interpolate(
        torch.from_numpy(np.ascontiguousarray(part))[None],
        size,
        mode="bilinear",
        align_corners=False,
        antialias=True,
    )
    return resized[0].numpy()


def there_and_back(
    name: str, layout: Layout, loop: Loop, against: str, tolerance: float
) -> list[Row]:
    rng, axis = np.random.default_rng(0), layout.axis
    image = rng.random((1, *layout.shape), dtype=np.float32)
    classes = rng.random((layout.mosaics, 3, layout.canvas, layout.canvas), dtype=np.float32)
    depth = layout.shape[axis]
    height, width = (side for i, side in enumerate(layout.shape) if i != axis)

    def loop_back() -> np.ndarray:
        slices = loop.unstitch(classes, (depth, height, width))
        return np.ascontiguousarray(np.moveaxis(slices, 0, axis + 1))

    there = Other(
        name=against,
        run=lambda: loop.stitch(np.moveaxis(image, axis + 1, 0)),
        tolerance=tolerance,
    )
    back = Other(name=against, run=loop_back, tolerance=tolerance)
    # what no code can undercut: a copy of as many bytes into new memory
    floor = Other(name="floor: a copy of the same bytes", run=lambda: image.copy())
    shown = np.ones((3, *layout.shape), np.float32)
    floor_back = Other(name="floor: a copy of the same bytes", run=lambda: shown.copy())
    to, fro = f"{name}, stitch", f"{name}, back, 3 classes"
    return [
        *compare("stitch", to, lambda: layout.stitch(image), [there, floor], 15, 5),
        *compare("stitch", fro, lambda: layout.unstitch(classes), [back, floor_back], 9),
    ]


def rows() -> list[Row]:
    """Left-atrium crops, hippocampus volumes, and slices that must be made smaller."""
    from loops.stitch import Stitcher, StitchSettings

    with one_thread():
        atrium = Stitcher(StitchSettings()).layout((112, 112, 80), 1008, 14)
        cropped = Stitcher(StitchSettings(tile=(32, 32), fit="crop"), axis=1)
        hippocampus = cropped.layout((35, 50, 36), 224, 8)
        deep = Stitcher(StitchSettings(policy="ceil_sqrt")).layout((128, 128, 128), 1008, 14)
        small = Loop(1008, 84, (84, 84), held=128, resized=True)
        resizing = f"{LOOP}, torch interpolate"
        halves = Loop(224, 32, (32, 32), held=25)  # 49 tiles: 50 slices are spread evenly
        return [
            *there_and_back("112x112x80", atrium, Loop(1008, 112, (112, 112), held=80), LOOP, 0),
            *there_and_back("35x50x36 cropped", hippocampus, halves, LOOP, 0),
            *there_and_back("128x128x128 resized", deep, small, resizing, 1e-5),
        ]


if __name__ == "__main__":
    emit(rows())
