"""Stitching: every slice of a volume as a tile of one or more square mosaics, and back again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Int32, Shaped, UInt8

from loops.stitch_grid import NO_SLICE, Grid, Line, Pair, StitchSettings, fill_tiles
from salearn.cases import IGNORE
from salearn.resize import resize_linear, resize_nearest

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

    def stitch(
        self, image: Float[np.ndarray, "channel _x _y _z"]
    ) -> Float[np.ndarray, "mosaic channel _s _s"]:
        """The volume as mosaics.

        Raises:
            ValueError: the volume is not of the shape of this layout.
        """
        slices = self._slices(image)
        if self._resizes:
            slices = resize_linear(slices, (self.rows.size, self.columns.size))
        return self._place(slices, self.fill)

    def stitch_mask(self, mask: UInt8[np.ndarray, "_x _y _z"]) -> UInt8[np.ndarray, "mosaic _s _s"]:
        """The mask as mosaics; void is 255, what was 255 stays so."""
        slices = self._slices(mask[None])
        if self._resizes:
            slices = resize_nearest(slices, (self.rows.size, self.columns.size))
        return self._place(slices, VOID)[:, 0]

    def slice_map(self) -> Int32[np.ndarray, "mosaic _s _s"]:
        """Slice index of every pixel, -1 in void."""
        depth = self.shape[self.axis]
        index = np.arange(depth, dtype=np.int32)[:, None, None, None]
        size = (depth, 1, self.rows.size, self.columns.size)
        return self._place(np.broadcast_to(index, size), NO_SLICE)[:, 0]

    def void(self) -> Bool[np.ndarray, "mosaic _s _s"]:
        """Pixels that show no slice."""
        empty: np.ndarray = self.slice_map() == NO_SLICE
        return empty

    def unstitch(
        self, probabilities: Float[np.ndarray, "mosaic class _s _s"]
    ) -> Float[np.ndarray, "class _x _y _z"]:
        """Probabilities on the grid of the volume; slices seen several times are averaged."""
        slices = self._take(probabilities)
        height, width = self._plane
        if self._resizes:
            slices = resize_linear(slices, (height, width))
        elif slices.shape[2:] != (height, width):
            slices = self._uncrop(slices)
        return np.ascontiguousarray(np.moveaxis(slices, 0, self.axis + 1))

    # --- parts ----------------------------------------------------------------------------

    @property
    def _plane(self) -> Pair:
        height, width = (side for axis, side in enumerate(self.shape) if axis != self.axis)
        return height, width

    @property
    def _resizes(self) -> bool:
        return not self.crop and (self.rows.size, self.columns.size) != self._plane

    @property
    def _window(self) -> tuple[slice, slice]:
        """The part of a slice that is shown (all of it, unless cropped)."""
        if not self.crop:
            return slice(None), slice(None)
        y, x = (
            (side - line.size) // 2
            for side, line in zip(self._plane, (self.rows, self.columns), strict=True)
        )
        return slice(y, y + self.rows.size), slice(x, x + self.columns.size)

    def _slices(
        self, volume: Shaped[np.ndarray, "channel _x _y _z"]
    ) -> Shaped[np.ndarray, "depth channel _h _w"]:
        if volume.shape[1:] != self.shape:
            raise ValueError(f"layout is for volumes of {self.shape}, got {volume.shape[1:]}")
        return np.moveaxis(volume, self.axis + 1, 0)[(..., *self._window)]

    def _place(
        self, slices: Shaped[np.ndarray, "depth channel _h _w"], fill: int | float
    ) -> Shaped[np.ndarray, "mosaic channel _s _s"]:
        _, channels, height, width = slices.shape
        size = (self.mosaics, channels, self.canvas, self.canvas)
        mosaics = np.full(size, fill, slices.dtype)
        # Each slice is written once, to its place: a padded copy and a reshape cost 3 times more.
        for index, sheet, y, x in self.placements.tolist():
            mosaics[sheet, :, y : y + height, x : x + width] = slices[index]
        return mosaics

    def _take(
        self, mosaics: Float[np.ndarray, "mosaic class _s _s"]
    ) -> Float[np.ndarray, "depth class _h _w"]:
        """Mean of the tiles of each slice."""
        height, width = self.rows.size, self.columns.size
        size = (self.shape[self.axis], mosaics.shape[1], height, width)
        slices = np.zeros(size, mosaics.dtype)
        for index, sheet, y, x in self.placements.tolist():
            slices[index] += mosaics[sheet, :, y : y + height, x : x + width]
        seen = np.bincount(self.tiles[self.tiles >= 0]).astype(mosaics.dtype)
        if (seen > 1).any():
            slices /= seen[:, None, None, None]
        return slices

    def _uncrop(
        self, slices: Float[np.ndarray, "depth class _h _w"]
    ) -> Float[np.ndarray, "depth class _h2 _w2"]:
        full = np.zeros((*slices.shape[:2], *self._plane), slices.dtype)
        full[:, 0] = 1
        full[(..., *self._window)] = slices
        return full


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
