"""The anatomy of a breathing thorax: implicit surfaces, moved by a breath, drawn as HU."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, UInt8

Point = tuple[float, float, float]
LUNG, HEART, TUMOUR = 1, 2, 3
AIR_HU, FAT_HU, MUSCLE_HU, BONE_HU = -1000.0, -95.0, 35.0, 420.0
LUNG_HU, HEART_HU, TUMOUR_HU, LIVER_HU = -820.0, 48.0, 35.0, 62.0


@dataclass(frozen=True, kw_only=True)
class Thorax:
    """One patient at full exhale; lengths in mm, axes x right, y front, z up, origin in the middle.

    Attributes:
        body: half axes of the trunk across and front to back.
        lung: half axes of a lung; lung_x: how far its middle lies from the midline.
        heart, heart_at: half axes and middle.
        dome: height of the diaphragm above `floor` in the middle of a lung.
        floor: z of the edge of the diaphragm.
        tumour, tumour_at: radius and middle.
        vessels: middle and radius of round vessels in the lungs, which look like a tumour.
        bubble: middle and radius of air in the stomach, which looks like lung.
        nodule: middle of a lymph node in the mediastinum, which looks like heart.
    """

    body: tuple[float, float]
    lung: Point
    lung_x: float
    heart: Point
    heart_at: Point
    dome: float
    floor: float
    tumour: float
    tumour_at: Point
    vessels: tuple[tuple[Point, float], ...]
    bubble: tuple[Point, float]
    nodule: tuple[Point, float]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Where things are in one phase, mm from full exhale.

    Attributes:
        diaphragm: down is negative.
        wall: by which the front of the trunk comes forward.
    """

    tumour: Point
    heart: Point
    diaphragm: float
    wall: float


def draw_thorax(rng: np.random.Generator, extent: Point) -> Thorax:
    """A patient; the tumour lies free in a lung, at the chest wall or at the mediastinum.

    Args:
        extent: mm of the image along x, y, z.
    """
    width, depth, height = (0.5 * side for side in extent)
    body = width * rng.uniform(0.86, 0.92), depth * rng.uniform(0.70, 0.78)
    lung = body[0] * 0.36, body[1] * rng.uniform(0.68, 0.74), height * rng.uniform(1.15, 1.3)
    lung_x = body[0] * rng.uniform(0.44, 0.48)
    side = float(rng.choice([-1.0, 1.0]))
    radius = rng.uniform(0.09, 0.15) * width + 3.0
    place = rng.choice(["free", "wall", "middle"], p=[0.4, 0.3, 0.3])
    off = {"free": 0.0, "wall": lung[0] - 0.6 * radius, "middle": 0.6 * radius - lung[0]}[place]
    tumour_at = side * (lung_x + off), rng.uniform(-0.3, 0.25) * lung[1], rng.uniform(-0.1, 0.35)
    vessels = [
        ((s * (lung_x + rng.uniform(-0.5, 0.5) * lung[0]), rng.uniform(-0.5, 0.5) * lung[1],
          rng.uniform(-0.4, 0.8) * height), rng.uniform(3.5, 6.0))
        for s in (-1.0, 1.0, -side)
    ]  # fmt: skip
    return Thorax(
        body=body,
        lung=lung,
        lung_x=lung_x,
        heart=(0.30 * width, 0.26 * depth, 0.36 * height),
        heart_at=(-0.07 * width, 0.16 * depth, rng.uniform(-0.26, -0.18) * height),
        dome=0.34 * height,
        floor=rng.uniform(-0.72, -0.62) * height,
        tumour=radius,
        tumour_at=(tumour_at[0], tumour_at[1], tumour_at[2] * height),
        vessels=tuple(vessels),
        bubble=((-lung_x, 0.15 * depth, -0.78 * height), 0.17 * width),
        nodule=((0.05 * width, -0.05 * depth, rng.uniform(0.35, 0.6) * height), 0.12 * width),
    )


def draw_phase(
    thorax: Thorax, shift: Shift, shape: tuple[int, int, int], spacing: Point
) -> tuple[Float32[np.ndarray, "x y z"], UInt8[np.ndarray, "x y z"]]:
    """HU without noise, with partial volume, and the exact mask (centre of voxel inside)."""
    grid = _grid(shape, spacing)
    blur = float(np.mean(spacing))
    lungs, front = _lungs(thorax, shift, grid)
    tumour = _ball(grid, _moved(thorax.tumour_at, shift.tumour), thorax.tumour)
    heart = _ellipsoid(grid, _moved(thorax.heart_at, shift.heart), thorax.heart)
    body = _ellipsoid(grid, (0.0, 0.0, 0.0), (*thorax.body, 1e6), front)
    hu = np.full(shape, AIR_HU, np.float32)
    _paint(hu, body, FAT_HU, blur)
    _paint(hu, body + 0.06 * thorax.body[0], MUSCLE_HU, blur)
    _paint(hu, _below(thorax, shift, grid, lungs, body), LIVER_HU, blur)
    _paint(hu, lungs, LUNG_HU - 2.0 * shift.diaphragm, blur)
    for middle, radius in thorax.vessels:
        _paint(hu, _ball(grid, _moved(middle, shift.tumour, 0.7), radius), MUSCLE_HU, blur)
    _paint(hu, _ball(grid, _moved(thorax.nodule[0], shift.heart), thorax.nodule[1]), HEART_HU, blur)
    bubble = _moved(thorax.bubble[0], (0.0, 0.0, shift.diaphragm))
    _paint(hu, _ball(grid, bubble, thorax.bubble[1]), AIR_HU, blur)
    _paint(hu, heart, HEART_HU, blur)
    _paint(hu, tumour, TUMOUR_HU, blur)
    spine = _ellipsoid(grid, (0.0, -0.78 * thorax.body[1], 0.0), (14.0, 14.0, 1e6))
    _paint(hu, spine, BONE_HU, blur)
    mask = np.zeros(shape, np.uint8)
    mask[lungs < 0] = LUNG
    mask[heart < 0] = HEART
    mask[tumour < 0] = TUMOUR
    return hu, mask


Grid = tuple[np.ndarray, np.ndarray, np.ndarray]


def _grid(shape: tuple[int, int, int], spacing: Point) -> Grid:
    lines = [
        ((np.arange(n) - (n - 1) / 2) * step).astype(np.float32)
        for n, step in zip(shape, spacing, strict=True)
    ]
    x, y, z = np.meshgrid(*lines, indexing="ij", sparse=True)
    return x, y, z


def _moved(point: Point, by: Point, share: float = 1.0) -> Point:
    x, y, z = (p + share * b for p, b in zip(point, by, strict=True))
    return x, y, z


def _ball(grid: Grid, middle: Point, radius: float) -> Float[np.ndarray, "x y z"]:
    return _ellipsoid(grid, middle, (radius, radius, radius))


def _ellipsoid(
    grid: Grid, middle: Point, axes: Point, front: float = 0.0
) -> Float[np.ndarray, "x y z"]:
    """About the distance to the surface in mm, negative inside; zero exactly on it.

    Args:
        front: by which the half axis towards +y is longer.
    """
    x, y, z = (line - m for line, m in zip(grid, middle, strict=True))
    y = np.where(y > 0, y / (axes[1] + front), y / axes[1])
    level = np.sqrt((x / axes[0]) ** 2 + y**2 + (z / axes[2]) ** 2)
    distance: np.ndarray = (level - 1) * min(axes)
    return distance


def _lungs(thorax: Thorax, shift: Shift, grid: Grid) -> tuple[Float[np.ndarray, "x y z"], float]:
    """Both lungs above their diaphragms, without the heart; and how far the front has moved."""
    parts = []
    for side in (-1.0, 1.0):
        middle = side * thorax.lung_x, 0.0, -0.15 * thorax.lung[2]
        shell = _ellipsoid(grid, middle, thorax.lung, shift.wall)
        parts.append(np.maximum(shell, _dome(thorax, shift, grid, side) - grid[2]))
    heart = _ellipsoid(grid, _moved(thorax.heart_at, shift.heart), thorax.heart)
    lungs: np.ndarray = np.maximum(np.minimum(*parts), -(heart - 3.0))  # a film of fat around it
    return lungs, shift.wall


def _dome(thorax: Thorax, shift: Shift, grid: Grid, side: float) -> Float[np.ndarray, "x y 1"]:
    """Height of a half of the diaphragm; its middle moves most, its edge hangs on the wall."""
    u = (grid[0] - side * thorax.lung_x) / thorax.lung[0]
    bulge = np.clip(1 - 0.8 * (u**2 + (grid[1] / thorax.lung[1]) ** 2), 0, 1)
    height: np.ndarray = thorax.floor + bulge * (thorax.dome + shift.diaphragm)
    return height


def _below(
    thorax: Thorax, shift: Shift, grid: Grid, lungs: np.ndarray, body: np.ndarray
) -> Float[np.ndarray, "x y z"]:
    """The liver: under the right dome."""
    under = grid[2] - _dome(thorax, shift, grid, 1.0) + 4.0
    inner = body + 0.1 * thorax.body[0]
    liver: np.ndarray = np.maximum(np.maximum(under, inner), -grid[0] - 0.1 * thorax.body[0])
    return liver


def _paint(
    hu: Float32[np.ndarray, "x y z"], distance: np.ndarray, value: float, blur: float
) -> None:
    """Put a structure over what is there; a voxel on its surface is a mixture of both."""
    share = np.clip(0.5 - distance / blur, 0, 1)
    hu += (share * (value - hu)).astype(np.float32)
