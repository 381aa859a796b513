"""What generated scenes are made of: shapes, tissue around them, and the machine that sees them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, UInt8
from scipy.ndimage import gaussian_filter

from salearn.data.procedural_shapes import KINDS, Grid, Shape, draw_level, inside
from salearn.settings import Field, settings

CENTRAL_KINDS = ("tube", "ball", "branch")
CENTRAL_SHARES = (0.65, 0.25, 0.1)


@settings
class SceneSettings:
    """How scenes vary.

    Attributes:
        anatomy: share of scenes of that family.
        camouflage: share of anatomies whose object has the intensity of a tissue around it; a rim
            then shows where it ends.
        coat: share of anatomies whose object, of middling brightness, lies between a brighter and a
            darker tissue, as a nucleus between white matter and fluid.
        offset: of the object from the middle, standard deviation as a share of the volume's side.
        radius: least and greatest of that object, as shares of the volume's shorter side.
        contrast: least and greatest difference of two tissues; the whole range is 1.
        noise, bias, texture: greatest strength, as shares of the range.
        blur: greatest standard deviation of the point spread, voxels.
    """

    anatomy: float = Field(default=0.7, ge=0, le=1)
    camouflage: float = Field(default=0.3, ge=0, le=1)
    coat: float = Field(default=0.0, ge=0, le=1)
    offset: float = Field(default=0.08, ge=0)
    radius: tuple[float, float] = (0.12, 0.26)
    contrast: tuple[float, float] = (0.15, 0.55)
    noise: float = Field(default=0.06, ge=0)
    bias: float = Field(default=0.2, ge=0)
    texture: float = Field(default=0.06, ge=0)
    blur: float = Field(default=0.8, ge=0)


def central_shape(grid: Grid, given: SceneSettings, rng: np.random.Generator) -> Shape:
    """A solid near the middle, along one of the axes."""
    kind = str(rng.choice(CENTRAL_KINDS, p=CENTRAL_SHARES))
    axis = int(rng.choice(3, p=grid.extent / grid.extent.sum()))
    direction = np.eye(3)[axis] + rng.normal(0, 0.33, 3)
    direction /= np.linalg.norm(direction)
    across = float(np.delete(grid.extent, axis).min())
    radius = rng.uniform(*given.radius) * across
    half = rng.uniform(0.28, 0.55) * grid.extent[axis]
    if kind == "ball":
        half, radius = half * 0.8, radius * rng.uniform(1.0, 1.5)
    x, y, z = np.clip(rng.normal(0, given.offset, 3), -0.25, 0.25) * grid.extent
    return Shape(
        kind=kind,
        center=(x, y, z),
        direction=(direction[0], direction[1], direction[2]),
        length=max(half, radius),
        radius=radius,
        flat=float(np.exp(rng.normal(0, 0.15))),
        bend=rng.normal(0, 0.7) * radius,
        taper=rng.uniform(-0.4, 0.4),
        ripple=rng.uniform(0.03, 0.18),
    )


def any_shape(kind: str, grid: Grid, rng: np.random.Generator) -> Shape:
    """A solid anywhere in the volume."""
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    least = float(grid.extent.min())
    radius = least * rng.uniform(0.06, 0.2)
    length = least * rng.uniform(0.2, 0.4)
    if kind in {"ball", "ring"}:
        radius, length = radius * 1.3, radius * rng.uniform(1.3, 1.9)
    if kind == "sheet":
        radius = rng.uniform(0.9, 1.8)
    x, y, z = rng.uniform(-0.42, 0.42, 3) * grid.extent
    return Shape(
        kind=kind,
        center=(x, y, z),
        direction=(direction[0], direction[1], direction[2]),
        length=max(length, radius),
        radius=radius,
        bend=rng.normal(0, 2.0),
        taper=rng.uniform(-0.3, 0.3),
        ripple=rng.uniform(0.0, 0.12),
    )


def draw_direction(rng: np.random.Generator) -> tuple[float, float, float]:
    """A unit vector, any way."""
    x, y, z = rng.normal(size=3)
    length = float(np.sqrt(x * x + y * y + z * z))
    return x / length, y / length, z / length


def draw_surroundings(grid: Grid, rng: np.random.Generator) -> UInt8[np.ndarray, "x y z"]:
    """Tissue 0 with folded ribbons of 1, clefts in them and pools of 2, and blobs of 1 or 3."""
    tissue = np.zeros(grid.shape, np.uint8)
    folds = grid.field(rng.uniform(4, 10), rng)
    width = rng.uniform(0.25, 0.6)
    tissue[np.abs(folds) < width if rng.random() < 0.7 else folds > 0.5] = 1
    if rng.random() < 0.5:  # as between two layers of cortex
        tissue[np.abs(folds) < width * rng.uniform(0.15, 0.4)] = 2
    tissue[grid.field(rng.uniform(6, 12), rng) > rng.uniform(0.9, 1.8)] = 2
    for _ in range(int(rng.integers(0, 5))):
        shape = any_shape(str(rng.choice(KINDS)), grid, rng)
        tissue[inside(shape, draw_level(shape, grid, rng))] = int(rng.choice([1, 2, 3]))
    if rng.random() < 0.25:  # the edge of the body: beyond it is dark
        edge = grid.axis(int(rng.integers(3))) * rng.choice([-1, 1]) + 2 * grid.field(12.0, rng)
        tissue[edge > 0.38 * grid.extent.min()] = 3
    return tissue


def draw_signals(
    count: int, given: SceneSettings, rng: np.random.Generator
) -> Float[np.ndarray, " count"]:
    """Intensities of tissues: the first anywhere, the others a contrast away from it."""
    first = rng.uniform(0.25, 0.75)
    sides = rng.permutation([-1, 1, -1 if first > 0.5 else 1])
    others = first + sides[: count - 1] * rng.uniform(*given.contrast, count - 1)
    return np.append(first, others)


def scan(
    clean: Float[np.ndarray, "x y z"], grid: Grid, given: SceneSettings, rng: np.random.Generator
) -> Float32[np.ndarray, "x y z"]:
    """What a machine makes of it: point spread, texture, bias field, gamma, noise."""
    spread = rng.uniform(0.3, max(given.blur, 0.3))
    thinnest = min(grid.step)
    # The spread is one of millimetres: across thick slices it is less than a voxel.
    sigma = [spread * thinnest / step if step <= 2 * thinnest else 0.0 for step in grid.step]
    image = gaussian_filter(clean.astype(np.float32), sigma, truncate=3.0)
    texture = grid.field(rng.uniform(1.5, 5.0), rng)
    image += np.float32(rng.uniform(0, given.texture)) * texture
    image *= np.exp(np.float32(rng.uniform(0, given.bias)) * grid.field(25.0, rng))
    image = np.clip(image, 0, None) ** np.float32(np.exp(rng.uniform(-0.35, 0.35)))
    noise = rng.standard_normal(grid.shape, dtype=np.float32)
    image += np.float32(rng.uniform(0.01, max(given.noise, 0.01))) * noise
    return image
