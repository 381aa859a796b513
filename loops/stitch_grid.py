"""The arithmetic of a mosaic: how many tiles, how far apart, and which slice goes where."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from salearn.errors import ConfigError
from salearn.settings import Field, settings

NO_SLICE = -1
Pair = tuple[int, int]


@settings
class StitchSettings:
    """How slices become mosaics.

    Attributes:
        policy: "token" = as many tiles as fit, pitch and offset multiples of the token (no token
            of the model sees two slices); "ceil_sqrt" = ceil(sqrt(depth)) tiles a side (the paper);
            "floor" = floor(canvas / slice) tiles a side with the rims of the released code;
            "fixed" = `d` tiles a side; "single" = one slice a mosaic, enlarged to the canvas
            (slice by slice, the baseline of stitching).
        d: tiles a side, for "fixed".
        token: of "token", pixels; None = the patch of the model. A window of the model
            (336 for SAM3) makes every slice an attention window of its own.
        tile: greatest slice height and width, pixels; None = what the policy has room for. For
            "token" it also sets the pitch, so that all volumes share one grid.
        fit: of slices larger than their tile: "resize" (shape kept; linear image, nearest mask),
            "crop" (the centre; what lies outside comes back as background) or "error".
        overlap: slices that consecutive mosaics share when one cannot hold all; averaged.
        fill: intensity of void pixels (images are -1..1).

    Source: SFR section 1.1; token alignment, several mosaics and non-square slices are ours.
    """

    policy: Literal["token", "ceil_sqrt", "floor", "fixed", "single"] = "token"
    d: int | None = Field(default=None, ge=1)
    token: int | None = Field(default=None, ge=1)
    tile: tuple[int, int] | None = None
    fit: Literal["resize", "crop", "error"] = "resize"
    overlap: int = Field(default=0, ge=0)
    fill: float = 0.0

    def __post_init__(self) -> None:
        if (self.policy == "fixed") != (self.d is not None):
            raise ConfigError("stitch.d: tiles a side belong to policy 'fixed', and only to it")
        if self.tile is not None and min(self.tile) < 1:
            raise ConfigError(f"stitch.tile: sides must be >= 1 pixel, got {self.tile}")


@dataclass(frozen=True)
class Line:
    """Tiles along one side of the canvas, in pixels; a slice starts `margin` inside its tile."""

    count: int
    pitch: int
    offset: int
    margin: int
    size: int

    def starts(self) -> Int[np.ndarray, " count"]:
        """First pixel of the slice in each tile."""
        return np.arange(self.count) * self.pitch + self.offset + self.margin


@dataclass(frozen=True)
class Grid:
    """The arithmetic of the policies, one side of the canvas at a time."""

    settings: StitchSettings
    canvas: int
    token: int
    depth: int

    def limit(self, i: int) -> int:
        """The longest slice side that there is room for."""
        policy = self.settings.policy
        if policy == "token":
            room = self.canvas // self.token * self.token
        elif policy in {"ceil_sqrt", "fixed"}:
            room = self.canvas // self.side
        else:
            room = self.canvas
        if self.settings.tile is not None and policy != "single":
            room = min(room, self.settings.tile[i])
        if room < 1:
            raise ConfigError(f"stitch: no room for one tile on a canvas of {self.canvas} pixels")
        return room

    @property
    def side(self) -> int:
        """Tiles a side of the policies that fix it."""
        return self.settings.d or math.isqrt(self.depth - 1) + 1

    def fitted(self, size: Pair) -> Pair:
        """Size of a slice in its tile."""
        room = (self.limit(0), self.limit(1))
        if self.settings.fit == "error" and (size[0] > room[0] or size[1] > room[1]):
            raise ConfigError(
                f"stitch.fit: slices of {size} pixels do not fit tiles of {room}; use a larger "
                "canvas (sam.resolution), or fit 'resize' or 'crop'"
            )
        if self.settings.fit == "crop" and self.settings.policy != "single":
            return min(size[0], room[0]), min(size[1], room[1])
        factor = min(room[0] / size[0], room[1] / size[1])
        if self.settings.policy != "single":
            factor = min(factor, 1.0)
        height, width = (max(1, min(room[i], round(size[i] * factor))) for i in range(2))
        return height, width

    def line(self, size: int, i: int) -> Line:
        """Tiles along side `i` (0 rows, 1 columns) for slices of `size` pixels."""
        if self.settings.policy == "floor":
            return self._rimmed(size)
        pitch = self._pitch(size, i)
        count = (
            self.side if self.settings.policy in {"ceil_sqrt", "fixed"} else self.canvas // pitch
        )
        offset = (self.canvas - count * pitch) // 2
        if self.settings.policy == "token":
            offset = offset // self.token * self.token
        return Line(count, pitch, offset, (pitch - size) // 2, size)

    def _pitch(self, size: int, i: int) -> int:
        policy, tile = self.settings.policy, self.settings.tile
        if policy == "single":
            return self.canvas
        if policy != "token":
            return self.canvas // self.side
        wanted = size if tile is None else self.limit(i)
        return -(-wanted // self.token) * self.token

    def _rimmed(self, size: int) -> Line:
        """Geometry of the released code: equal rims, a pitch that may overhang the canvas.

        The rim is made smaller where the released code would cut into the first slice.
        """
        count = self.canvas // size
        spare = self.canvas - count * size
        rim = round((self.canvas / count - size) / 2)
        if count > 1:
            rim = min(rim, spare // (2 * (count - 1)))
        pitch = size + 2 * rim
        return Line(count, pitch, (self.canvas - count * pitch) // 2, rim, size)


def fill_tiles(depth: int, capacity: int, given: StitchSettings) -> Int[np.ndarray, "mosaic tile"]:
    """Slices in ascending order, row by row; a deep volume is spread evenly over mosaics."""
    overlap = given.overlap if depth > capacity else 0
    if overlap >= capacity:
        raise ConfigError(
            f"stitch.overlap: {overlap} shared slices leave no room for new ones in mosaics of "
            f"{capacity} tiles"
        )
    number = -(-(depth - overlap) // (capacity - overlap))
    step = -(-(depth - overlap) // number)
    tiles = np.full((number, capacity), NO_SLICE)
    for mosaic, first in enumerate(range(0, depth - overlap, step)):
        held = np.arange(first, min(first + step + overlap, depth))
        # The released code puts half of the empty tiles in front.
        lead = (capacity - len(held)) // 2 if given.policy == "floor" else 0
        tiles[mosaic, lead : lead + len(held)] = held
    return tiles
