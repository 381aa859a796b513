"""Solid shapes of generated scenes, as level fields: below 1 is inside, 0 at the heart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32

from salearn.data.phantom_shape import smooth_field

KINDS = ("ball", "tube", "branch", "ring", "sheet")
BEADS = 14  # a tube is the union of so many balls along its line
HOLLOW = 0.72  # level where the wall of a ring begins


@dataclass(frozen=True, eq=False)
class Grid:
    """Positions of voxels in mm, seen from the middle of the volume.

    Attributes:
        shape: voxels. step: mm from voxel to voxel along each axis.
    """

    shape: tuple[int, int, int]
    step: tuple[float, float, float]

    def axis(self, i: int) -> Float32[np.ndarray, "_x _y _z"]:
        """Coordinate `i` in mm, of size 1 along the other axes."""
        n = self.shape[i]
        line = (np.arange(n, dtype=np.float32) - (n - 1) / 2) * self.step[i]
        return line.reshape([-1 if a == i else 1 for a in range(3)])

    @property
    def extent(self) -> Float[np.ndarray, "3"]:
        """Edges of the volume in mm."""
        edges: np.ndarray = np.array(self.shape) * np.array(self.step)
        return edges

    def field(self, scale: float, rng: np.random.Generator) -> Float32[np.ndarray, "x y z"]:
        """A random field of mean 0 and standard deviation 1, smooth over `scale` mm."""
        x, y, z = (max(scale / step, 1.0) for step in self.step)
        return smooth_field(self.shape, (x, y, z), rng)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a solid looks like.

    Attributes:
        kind: one of KINDS.
        center: mm from the middle of the volume.
        direction: unit vector along its length.
        length, radius: half-length and radius of the cross-section in mm.
        flat: how much wider the cross-section is one way than the other.
        bend: mm that the middle of a tube lies off the line between its ends.
        taper: how much thicker one end is, -1..1.
        ripple: unevenness of the surface, relative.
    """

    kind: str
    center: tuple[float, float, float]
    direction: tuple[float, float, float]
    length: float
    radius: float
    flat: float = 1.0
    bend: float = 0.0
    taper: float = 0.0
    ripple: float = 0.1


def draw_level(shape: Shape, grid: Grid, rng: np.random.Generator) -> Float32[np.ndarray, "x y z"]:
    """The level field of a shape with an uneven surface; below 1 is inside."""
    if shape.kind in {"tube", "branch"}:
        level = _tube(shape, grid, rng)
        if shape.kind == "branch":
            level = np.minimum(level, _tube(_twig(shape, rng), grid, rng))
    elif shape.kind == "sheet":
        level = _sheet(shape, grid, rng)
    else:
        level = _ball(shape, grid, rng)
    return level + np.float32(shape.ripple) * grid.field(max(shape.radius, 3.0), rng)


def inside(shape: Shape, level: Float32[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """Voxels of the shape; a ring is hollow."""
    solid: np.ndarray = level < 1
    return solid & (level > HOLLOW) if shape.kind == "ring" else solid


def _frame(direction: tuple[float, float, float], rng: np.random.Generator) -> np.ndarray:
    """Three unit vectors at right angles, the first along `direction`."""
    columns = np.stack([np.array(direction), *rng.normal(size=(2, 3))], axis=1)
    q, r = np.linalg.qr(columns)
    frame: np.ndarray = (q * np.sign(np.diag(r))).T
    return frame


def along(
    grid: Grid, center: tuple[float, float, float], vector: np.ndarray
) -> Float32[np.ndarray, "x y z"]:
    """Distance in mm from `center` (mm from the middle of the volume) along a unit vector."""
    total = np.zeros(grid.shape, np.float32)
    for i in range(3):
        total += np.float32(vector[i]) * (grid.axis(i) - np.float32(center[i]))
    return total


def _ball(shape: Shape, grid: Grid, rng: np.random.Generator) -> Float32[np.ndarray, "x y z"]:
    frame = _frame(shape.direction, rng)
    radii = (shape.length, shape.radius * shape.flat, shape.radius / shape.flat)
    level = np.zeros(grid.shape, np.float32)
    for vector, radius in zip(frame, radii, strict=True):
        level += (along(grid, shape.center, vector) / np.float32(radius)) ** 2
    return np.sqrt(level)


def _tube(shape: Shape, grid: Grid, rng: np.random.Generator) -> Float32[np.ndarray, "x y z"]:
    """Distance to the nearest bead of a bent line, over the radius there."""
    frame = _frame(shape.direction, rng)
    long, wide, high = (along(grid, shape.center, vector) for vector in frame)
    level = np.full(grid.shape, np.inf, np.float32)
    reach = max(shape.length - shape.radius, 0.1)
    for t in np.linspace(-1, 1, BEADS):
        radius = shape.radius * (1 + shape.taper * t)
        side = np.float32(shape.bend * (1 - t * t - 0.5))
        bead = (long - np.float32(reach * t)) ** 2
        bead += ((wide - side) / np.float32(shape.flat)) ** 2 + (high * np.float32(shape.flat)) ** 2
        np.minimum(level, bead / np.float32(radius**2), out=level)
    return np.sqrt(level)


def _twig(shape: Shape, rng: np.random.Generator) -> Shape:
    """A thinner arm that leaves the middle of a tube."""
    direction = np.array(shape.direction) + rng.normal(0, 1.0, 3)
    x, y, z = direction / np.linalg.norm(direction)
    length = shape.length * rng.uniform(0.4, 0.7)
    cx, cy, cz = np.array(shape.center) + np.array([x, y, z]) * length * 0.8
    return Shape(
        kind="tube",
        center=(cx, cy, cz),
        direction=(x, y, z),
        length=length,
        radius=shape.radius * rng.uniform(0.5, 0.8),
        ripple=0.0,
    )


def _sheet(shape: Shape, grid: Grid, rng: np.random.Generator) -> Float32[np.ndarray, "x y z"]:
    """A curved plate: thin across `direction`, within `length` of the center."""
    normal = along(grid, shape.center, np.array(shape.direction))
    far = np.zeros(grid.shape, np.float32)
    for i in range(3):
        far += (grid.axis(i) - np.float32(shape.center[i])) ** 2
    curved = normal + np.float32(shape.bend) * (far / np.float32(shape.length**2) - 0.5)
    across, out = np.abs(curved) / np.float32(shape.radius), np.sqrt(far) / shape.length
    level: np.ndarray = np.maximum(across, out)
    return level
