"""Stitching: every slice of a volume as a tile of one or more square mosaics, and back again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Shaped, UInt8

from loops.stitch_grid import NO_SLICE, Grid, Line, Pair, StitchSettings, fill_tiles
from loops.stitch_tiles import Run, place, take
from salearn.cases import IGNORE
from salearn.resize import nearest_axis, resize_axis

__all__ = ["VOID", "Layout", "StitchSettings", "Stitcher"]

VOID = IGNORE  # mask value of pixels that show no slice
Shape = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """Where every slice of a volume lies; `stitch` and `unstitch` are each other's inverse.

    Attributes:
        shape: of the volume. axis: along which it is sliced. canvas: side of a mosaic, pixels.
        rows, columns: the grid of tiles.
        tiles: slice in each tile (row by row) of each mosaic, -1 = none.
    """

    shape: Shape
    axis: int
    canvas: int
    rows: Line
    columns: Line
    tiles: Int[np.ndarray, "mosaic tile"]
    crop: bool
    fill: float

    @property
    def mosaics(self) -> int:
        """How many mosaics the volume makes."""
        return len(self.tiles)

    @property
    def capacity(self) -> int:
        """Tiles of one mosaic."""
        return self.rows.count * self.columns.count

    @property
    def placements(self) -> Int[np.ndarray, "placed 4"]:
        """Slice index, mosaic, and first row and column (pixels) of every placed slice."""
        mosaic, tile = np.nonzero(self.tiles >= 0)
        y = self.rows.starts()[tile // self.columns.count]
        x = self.columns.starts()[tile % self.columns.count]
        return np.stack([self.tiles[mosaic, tile], mosaic, y, x], axis=1)

    @cached_property
    def runs(self) -> list[Run]:
        """Neighbouring slices in one row of tiles, in the order of the mosaics."""
        found, columns = [], self.columns
        y, x = self.rows.starts(), columns.starts()
        grid = self.tiles.reshape(self.mosaics, self.rows.count, columns.count)
        for sheet, row in np.ndindex(*grid.shape[:2]):
            held = np.flatnonzero(grid[sheet, row] >= 0)
            if held.size:
                first, corner = int(grid[sheet, row, held[0]]), (int(y[row]), int(x[held[0]]))
                size = (self.rows.size, columns.size)
                found.append(Run(sheet, *corner, first, len(held), columns.pitch, size))
        return found

    def stitch(
        self, image: Float[np.ndarray, "channel _x _y _z"]
    ) -> Float[np.ndarray, "mosaic channel _s _s"]:
        """The volume as mosaics.

        Raises:
            ValueError: the volume is not of the shape of this layout.
        """
        shown = self._shown(image)
        if self._resizes:
            for axis, size in self._sides(self.rows.size, self.columns.size):
                shown = resize_axis(shown, axis, size)
        return self._place(shown, self.fill)

    def stitch_mask(self, mask: UInt8[np.ndarray, "_x _y _z"]) -> UInt8[np.ndarray, "mosaic _s _s"]:
        """The mask as mosaics; void is 255, what was 255 stays so."""
        shown = self._shown(mask[None])
        if self._resizes:
            for axis, size in self._sides(self.rows.size, self.columns.size):
                shown = nearest_axis(shown, axis, size)
        return self._place(shown, VOID)[:, 0]

    def slice_map(self) -> Int32[np.ndarray, "mosaic _s _s"]:
        """Slice index of every pixel, -1 in void."""
        index = self._along(np.arange(self.shape[self.axis], dtype=np.int32))
        return self._place(np.broadcast_to(index, (1, *self._tiled)), NO_SLICE)[:, 0]

    def void(self) -> Bool[np.ndarray, "mosaic _s _s"]:
        """Pixels that show no slice."""
        empty: np.ndarray = self.slice_map() == NO_SLICE
        return empty

    def unstitch(
        self, probabilities: Float[np.ndarray, "mosaic class _s _s"]
    ) -> Float[np.ndarray, "class _x _y _z"]:
        """Probabilities on the grid of the volume; slices seen several times are averaged.

        Class 0 is the background, which has all of what was cropped away.
        """
        if self._resizes:
            volume = self._take(probabilities, self._tiled)
            for axis, size in self._sides(*self._plane):
                volume = resize_axis(volume, axis, size)
            return np.ascontiguousarray(volume)
        return self._take(probabilities, self.shape)

    # --- parts ----------------------------------------------------------------------------

    @property
    def _plane(self) -> Pair:
        height, width = (side for axis, side in enumerate(self.shape) if axis != self.axis)
        return height, width

    @property
    def _tiled(self) -> Shape:
        """The volume with its slices in the size that they have in their tiles."""
        sides = list(self.shape)
        for axis, size in self._sides(self.rows.size, self.columns.size):
            sides[axis - 1] = size
        return sides[0], sides[1], sides[2]

    @property
    def _resizes(self) -> bool:
        return not self.crop and (self.rows.size, self.columns.size) != self._plane

    @property
    def _cuts(self) -> bool:
        return self.crop and (self.rows.size, self.columns.size) != self._plane

    @property
    def _repeats(self) -> bool:
        """Whether some slice lies in several mosaics."""
        return int((self.tiles >= 0).sum()) > self.shape[self.axis]

    @property
    def _window(self) -> tuple[slice, ...]:
        """The part of a volume "channel x y z" that is shown (all of it, unless cropped)."""
        window = [slice(None)] * 4
        if self.crop:
            for axis, size in self._sides(self.rows.size, self.columns.size):
                first = (self.shape[axis - 1] - size) // 2
                window[axis] = slice(first, first + size)
        return tuple(window)

    def _sides(self, height: int, width: int) -> list[Pair]:
        """The axes of a slice in "channel x y z", each with its new length."""
        first, second = (axis + 1 for axis in range(3) if axis != self.axis)
        return [(first, height), (second, width)]

    def _along(self, values: Shaped[np.ndarray, " depth"]) -> Shaped[np.ndarray, "_x _y _z"]:
        """A value for each slice, as an array that is as wide as the depth and 1 elsewhere."""
        spread: np.ndarray = np.expand_dims(values, tuple(a - 1 for a, _ in self._sides(0, 0)))
        return spread

    def _shown(
        self, volume: Shaped[np.ndarray, "channel _x _y _z"]
    ) -> Shaped[np.ndarray, "channel _x2 _y2 _z2"]:
        if volume.shape[1:] != self.shape:
            raise ValueError(f"layout is for volumes of {self.shape}, got {volume.shape[1:]}")
        return volume[self._window]

    def _place(
        self, volume: Shaped[np.ndarray, "channel _x _y _z"], fill: int | float
    ) -> Shaped[np.ndarray, "mosaic channel _s _s"]:
        size = (self.mosaics, len(volume), self.canvas, self.canvas)
        mosaics = np.full(size, fill, volume.dtype)
        place(volume, self.axis, mosaics, self.runs)
        return mosaics

    def _take(
        self, mosaics: Float[np.ndarray, "mosaic class _s _s"], shape: Shape
    ) -> Float[np.ndarray, "class _x _y _z"]:
        """Mean of the tiles of each slice; what was cropped away is background."""
        make = np.zeros if self._cuts or self._repeats else np.empty
        volume = make((mosaics.shape[1], *shape), mosaics.dtype)
        shown = volume[self._window]
        if self._cuts:
            volume[0] = 1
            shown[0] = 0
        take(mosaics, self.runs, self.axis, shown, add=self._repeats)
        if self._repeats:
            seen = np.bincount(self.tiles[self.tiles >= 0]).astype(mosaics.dtype)
            shown /= self._along(seen)
        return volume


@dataclass(frozen=True)
class Stitcher:
    """Makes layouts.

    Attributes:
        axis: the slice axis: 0, 1, 2 = x, y, z of the RAS volume.
    """

    settings: StitchSettings
    axis: int = 2

    def layout(self, shape: Shape, canvas: int, token: int) -> Layout:
        """The layout of a volume.

        Args:
            canvas: side of the mosaic = input size of the model, pixels.
            token: patch of the model, pixels; used where `settings.token` is None.

        Raises:
            ConfigError: a slice or tile has no room, or `overlap` leaves no room for new slices.
        """
        depth = shape[self.axis]
        height, width = (side for axis, side in enumerate(shape) if axis != self.axis)
        grid = Grid(self.settings, canvas, self.settings.token or token, depth)
        size = grid.fitted((height, width))
        rows, columns = (grid.line(size[i], i) for i in range(2))
        return Layout(
            shape=shape,
            axis=self.axis,
            canvas=canvas,
            rows=rows,
            columns=columns,
            tiles=fill_tiles(depth, rows.count * columns.count, self.settings),
            crop=self.settings.fit == "crop" and self.settings.policy != "single",
            fill=self.settings.fill,
        )
