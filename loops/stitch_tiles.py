"""Moving voxels between a volume and its mosaics, a row of tiles at a time.

A row of tiles holds neighbouring slices. Where the slices lie side by side in memory (axis 2) every
cache line of the volume holds voxels of 16 of them, so a slice at a time reads the whole volume
from memory for each slice; a row of tiles at a time reads it about twice (measured in docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Shaped
from numpy.lib.stride_tricks import as_strided

STRIP = 16  # rows of all slices that are turned at a time
BUFFER = 2**16  # voxels of a buffer that stays in the cache


@dataclass(frozen=True)
class Run:
    """Neighbouring slices `first`, `first` + 1, ... in neighbouring tiles of one row.

    Attributes:
        sheet: the mosaic. y, x: first row and column of the first slice, pixels.
        pitch: from one tile to the next, pixels. size: height and width of a slice.
    """

    sheet: int
    y: int
    x: int
    first: int
    count: int
    pitch: int
    size: tuple[int, int]

    @property
    def slices(self) -> slice:
        """Where the slices lie in the volume."""
        return slice(self.first, self.first + self.count)

    def of(
        self, mosaics: Shaped[np.ndarray, "mosaic channel _s _s"]
    ) -> Shaped[np.ndarray, "channel _h _count _w"]:
        """The tiles of the run as a view: writing to it writes to the mosaics."""
        height, width = self.size
        part = mosaics[self.sheet, :, self.y : self.y + height, self.x :]
        channel, row, column = part.strides
        return as_strided(
            part,
            (len(part), height, self.count, width),
            (channel, row, self.pitch * column, column),
        )


def place(
    volume: Shaped[np.ndarray, "channel _x _y _z"],
    axis: int,
    mosaics: Shaped[np.ndarray, "mosaic channel _s _s"],
    runs: Sequence[Run],
) -> None:
    """Write the slices of a volume to their tiles."""
    slices = np.moveaxis(volume, axis + 1, 2)
    step = STRIP if axis == 2 else slices.shape[1]
    views = [(run.of(mosaics), run.slices) for run in runs]
    for top in range(0, slices.shape[1], step):
        rows = slice(top, top + step)
        for view, where in views:
            view[:, rows] = slices[:, rows, where]


def take(
    mosaics: Shaped[np.ndarray, "mosaic channel _s _s"],
    runs: Sequence[Run],
    axis: int,
    volume: Shaped[np.ndarray, "channel _x _y _z"],
    add: bool,
) -> None:
    """Write the tiles to their slices of a volume, or add them to what is there."""
    if axis == 2:
        for sheet in {run.sheet: None for run in runs}:
            _take_interleaved(mosaics, [run for run in runs if run.sheet == sheet], volume, add)
        return
    slices = np.moveaxis(volume, axis + 1, 2)
    for run in runs:
        part = slices[:, :, run.slices]
        np.add(part, run.of(mosaics), out=part) if add else np.copyto(part, run.of(mosaics))


def _take_interleaved(
    mosaics: np.ndarray, runs: Sequence[Run], volume: np.ndarray, add: bool
) -> None:
    """Axis 2: some rows of all tiles are gathered in the cache, then turned as a whole."""
    views = [run.of(mosaics) for run in runs]
    first, last = runs[0].slices.start, runs[-1].slices.stop
    channels, height, width, _ = volume.shape
    step = max(1, BUFFER // (channels * width * (last - first)))
    buffer = np.empty((channels, step, last - first, width), mosaics.dtype)
    for top in range(0, height, step):
        rows = slice(top, min(top + step, height))
        filled = buffer[:, : rows.stop - top]
        for run, view in zip(runs, views, strict=True):
            filled[:, :, run.first - first : run.slices.stop - first] = view[:, rows]
        part = volume[:, rows, :, first:last]
        turned = filled.swapaxes(2, 3)
        np.add(part, turned, out=part) if add else np.copyto(part, turned)
