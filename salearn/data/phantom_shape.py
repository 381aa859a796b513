"""The anatomy of a phantom, drawn at a finer grid: tissues around a bent, tapered two-part body."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8

CSF, GRAY, WHITE, BODY = range(4)  # tissue indices
SHAPES = ("usual", "shrunken", "hooked", "upright")
ATLAS = (80, 112, 80)  # the largest fine grid
ALIKE = 0.92  # correlation of one case's surroundings with the common ones


@dataclass(frozen=True, kw_only=True)
class Body:
    """A tube along y whose center and radii are functions of t = 0 (posterior) .. 1 (anterior).

    Attributes:
        length: mm along y.
        radius: mm, (across, up) in the middle.
        head: how much thicker the anterior part is; split: t where it starts = the class border.
        bend: mm that the center moves sideways; tilt: mm that it falls from back to front.
        roll: rotation of the cross-section in radians.
        ripple: relative unevenness of the surface.
    """

    length: float
    radius: tuple[float, float]
    head: float
    split: float
    bend: float
    tilt: float
    roll: float
    ripple: float


def draw_body(shape: str, rng: np.random.Generator) -> Body:
    """A body of one of SHAPES."""
    size = rng.normal(1.0, 0.07)
    body = Body(
        length=rng.normal(37.5, 2.0),
        radius=(6.0 * size * rng.normal(1, 0.05), 4.6 * size * rng.normal(1, 0.05)),
        head=rng.normal(1.28, 0.1),
        split=rng.normal(0.56, 0.04),
        bend=rng.normal(3.5, 1.0),
        tilt=rng.normal(9.0, 1.5),
        roll=rng.normal(0.25, 0.15),
        ripple=0.10,
    )
    if shape == "shrunken":
        return replace(body, radius=(4.4 * size, 3.1 * size), ripple=0.2)
    if shape == "hooked":
        return replace(body, bend=rng.normal(8.5, 1.0), head=rng.normal(1.5, 0.1))
    if shape == "upright":
        return replace(body, roll=rng.normal(1.5, 0.15), tilt=rng.normal(1.0, 1.0))
    return body


def draw_labels(
    body: Body, shape: tuple[int, int, int], step: float, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "x y z"], Float32[np.ndarray, "x y z"]]:
    """Labels 0/1/2 (anterior 1, posterior 2) and roughly the distance to the surface in mm.

    Args:
        shape: voxels of the fine grid; step: their size in mm.
    """
    x, y, z = (np.arange(n, dtype=np.float32) * step for n in shape)
    middle = [n * step / 2 + rng.normal(0, 0.8) for n in shape]
    t = (y - middle[1]) / body.length + 0.5
    inside = np.clip(t, 0, 1)
    head = 1 / (1 + np.exp(-(inside - body.split) / 0.045))
    caps = np.sqrt(np.clip(1 - np.abs(2 * inside - 1) ** 3.5, 0.02, 1))
    wide = caps * (0.92 + (body.head - 0.92) * head)
    center_x = middle[0] + body.bend * ((2 * inside - 1) ** 2 - 0.4)
    center_z = middle[2] - body.tilt * (inside - 0.5)
    u = x[:, None] - center_x[None]
    v = (z[:, None] - center_z[None]).T
    cos, sin = np.cos(body.roll), np.sin(body.roll)
    across = (u[:, :, None] * cos + v[None] * sin) / (body.radius[0] * wide)[None, :, None]
    up = (v[None] * cos - u[:, :, None] * sin) / (body.radius[1] * wide)[None, :, None]
    level = np.sqrt(across**2 + up**2) + body.ripple * smooth_field(shape, 5.0 / step, rng)
    beyond = np.abs(t - inside) * body.length  # mm past an end
    thin = min(body.radius) * wide[None, :, None]
    distance = np.maximum((level - 1) * thin, beyond[None, :, None] - 0.3).astype(np.float32)
    anterior = t > body.split
    labels = np.where(distance < 0, np.where(anterior, 1, 2)[None, :, None], 0)
    return labels.astype(np.uint8), distance


def draw_tissues(
    distance: Float32[np.ndarray, "x y z"], step: float, rng: np.random.Generator
) -> UInt8[np.ndarray, "x y z"]:
    """Tissue of every voxel: folded gray ribbons in white, fluid, a rim, and distractors."""
    shape = distance.shape
    folds = _anatomy(shape, 6.0 / step, rng)
    pools = _anatomy(shape, 9.0 / step, rng)
    tissue = np.full(shape, WHITE, np.uint8)
    tissue[(np.abs(folds) < 0.35) & (distance > 3)] = GRAY
    tissue[pools > 1.5] = CSF
    for _ in range(2):
        tissue[_blob(shape, step, rng) < 1] = GRAY
    side = np.linspace(-1.5, 1.5, shape[0], dtype=np.float32)[:, None, None]
    rim = 0.7 * _anatomy(shape, 8.0 / step, rng) + side
    near = distance < 1.8
    tissue[near & (rim > -1.0)] = WHITE  # a thin sheet, open to gray at one side
    tissue[near & (rim > 0.7)] = CSF  # the horn of a ventricle at the other
    tissue[distance < 0] = BODY
    return tissue


def _anatomy(
    shape: tuple[int, ...], scale: float, rng: np.random.Generator
) -> Float32[np.ndarray, "x y z"]:
    """A smooth field that is partly the same in all cases, as neighbors are in a real body."""
    window = tuple(slice((a - n) // 2, (a - n) // 2 + n) for a, n in zip(ATLAS, shape, strict=True))
    own = smooth_field(shape, scale, rng)
    mixed: np.ndarray = ALIKE * _atlas(scale)[window] + np.float32((1 - ALIKE**2) ** 0.5) * own
    return mixed


@lru_cache
def _atlas(scale: float) -> Float32[np.ndarray, "x y z"]:
    return smooth_field(ATLAS, scale, np.random.default_rng(round(scale)))


def _blob(
    shape: tuple[int, ...], step: float, rng: np.random.Generator
) -> Float32[np.ndarray, "x y z"]:
    """Level of an ellipsoid of about the body's cross-section; below 1 is inside."""
    level = np.zeros(shape, np.float32)
    for axis, n in enumerate(shape):
        center, radius = rng.uniform(0, n * step), rng.uniform(3.0, 9.0)
        part = ((np.arange(n, dtype=np.float32) * step - center) / radius) ** 2
        level += part.reshape([-1 if a == axis else 1 for a in range(3)])
    return level


def smooth_field(
    shape: tuple[int, ...], scale: float | tuple[float, ...], rng: np.random.Generator
) -> Float32[np.ndarray, "x y z"]:
    """A random field with mean 0 and standard deviation 1, smooth over `scale` voxels.

    White noise on knots `scale` apart (one number, or one for each axis), spread by a Gaussian
    along one axis after the other.
    """
    scales = scale if isinstance(scale, tuple) else (scale,) * len(shape)
    knots = [int(np.ceil(n / apart)) + 3 for n, apart in zip(shape, scales, strict=True)]
    field = rng.standard_normal(knots).astype(np.float32)
    for n, count, apart in zip(shape, knots, scales, strict=True):
        gap = np.arange(n)[:, None] / apart - (np.arange(count)[None] - 1)
        kernel = np.exp(-0.5 * (gap / 0.6) ** 2).astype(np.float32)
        field = np.tensordot(field, kernel, axes=(0, 1))  # the axis done goes to the back
    field -= field.mean()
    return field / max(float(field.std()), 1e-6)
