"""Hard negatives, boundary tier: where a border shows little contrast, its pixels weigh more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, UInt8

from salearn.cases import IGNORE
from salearn.metrics.surface import box_of
from salearn.settings import Field, settings

Spacing = tuple[float, float, float]
EPSILON = 1e-6
FAR = 4.0  # spreads from a boundary at which a weight is taken to be 1 (exp(-8) = 0.0003 off)


@settings
class ContrastSettings:
    """w(v) = 1 + weight exp(-c(u) / contrast) exp(-d(v)^2 / (2 spread^2)), u nearest to v.

    Attributes:
        radius_mm: of the ball around a boundary point in which contrast is measured; on coarser
            grids it reaches to the next voxel along every axis.
        weight: lambda, added where there is no contrast at all, on the boundary itself.
        contrast: c0, in standard deviations.
        spread_mm: s.

    Source: adaptation notes 8.1, boundary tier (a reconstruction).
    """

    radius_mm: float = Field(default=5.0, gt=0)
    weight: float = Field(default=2.0, ge=0)
    contrast: float = Field(default=1.0, gt=0)
    spread_mm: float = Field(default=3.0, gt=0)


def boundary_points(
    inside: Bool[np.ndarray, "x y z"], outside: Bool[np.ndarray, "x y z"]
) -> Bool[np.ndarray, "x y z"]:
    """Voxels of a structure with a face neighbour that is known to be outside it.

    Where the image or the annotation ends there is no boundary, as nothing is known beyond it.
    """
    found = np.zeros(inside.shape, bool)
    for axis in range(inside.ndim):
        here = np.moveaxis(found, axis, 0)
        beyond = np.moveaxis(outside, axis, 0)
        here[1:] |= beyond[:-1]
        here[:-1] |= beyond[1:]
    points: np.ndarray = found & inside
    return points


def local_contrast(
    image: Float[np.ndarray, "x y z"],
    inside: Bool[np.ndarray, "x y z"],
    outside: Bool[np.ndarray, "x y z"],
    points: Int[np.ndarray, "point 3"],
    spacing: Spacing,
    radius_mm: float,
) -> Float[np.ndarray, " point"]:
    """c(u) = |mean_in - mean_out| / sqrt((var_in + var_out) / 2 + 1e-6) of every boundary point.

    The two sides are the parts of a ball around the point that lie inside and outside of the
    structure; for a flat boundary these are its halves.
    """
    offsets = _ball(spacing, radius_mm)
    reach = [(int(r), int(r)) for r in np.abs(offsets).max(axis=0)]
    shape = tuple(n + 2 * r for n, (r, _) in zip(image.shape, reach, strict=True))
    centre = np.ravel_multi_index((points + [r for r, _ in reach]).T, shape)
    steps = offsets @ np.array([shape[1] * shape[2], shape[2], 1])
    values = np.pad(image.astype(np.float64) - float(image.mean()), reach).ravel()
    sides = [
        _moments(values, np.pad(side, reach).ravel(), centre, steps) for side in (inside, outside)
    ]
    (mean_in, var_in), (mean_out, var_out) = sides
    contrast: np.ndarray = np.abs(mean_in - mean_out) / np.sqrt((var_in + var_out) / 2 + EPSILON)
    return contrast


def _ball(spacing: Spacing, radius_mm: float) -> Int[np.ndarray, "offset 3"]:
    radius = max(radius_mm, *spacing) + 1e-9
    sides = [np.arange(-int(radius // step), int(radius // step) + 1) for step in spacing]
    grid = np.stack(np.meshgrid(*sides, indexing="ij"), axis=-1).reshape(-1, 3)
    near: np.ndarray = grid[((grid * np.array(spacing)) ** 2).sum(axis=1) <= radius**2]
    return near


def _moments(
    values: np.ndarray, side: np.ndarray, centre: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of one side around every point, one offset of the ball at a time."""
    count, total, squares = np.zeros((3, len(centre)))
    for step in steps:
        at = centre + step
        weight = side[at]
        value = values[at] * weight
        count += weight
        total += value
        squares += value * value
    count = np.maximum(count, 1)
    mean = total / count
    return mean, np.maximum(squares / count - mean**2, 0)


def contrast_of(
    image: Float[np.ndarray, "x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    label: int,
    spacing: Spacing,
    radius_mm: float = 5.0,
) -> tuple[Int[np.ndarray, "point 3"], Float[np.ndarray, " point"]]:
    """The boundary points of a class and their contrast."""
    inside = mask == label
    outside = ~inside & (mask != IGNORE)
    points = np.argwhere(boundary_points(inside, outside))
    return points, local_contrast(image, inside, outside, points, spacing, radius_mm)


def boundary_weights(
    image: Float[np.ndarray, "x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    num_classes: int,
    spacing: Spacing,
    given: ContrastSettings,
) -> Float32[np.ndarray, "class x y z"]:
    """The weight of every voxel for each foreground class, 1 far from its boundary.

    Args:
        image: as the model is shown it. mask: classes 1..num_classes, 255 = unknown.
    """
    weights = np.ones((num_classes, *mask.shape), np.float32)
    for label in range(1, num_classes + 1):
        points, contrast = contrast_of(image, mask, label, spacing, given.radius_mm)
        if len(points):
            _weigh(weights[label - 1], points, contrast, spacing, given)
    return weights


def _weigh(
    weights: np.ndarray,
    points: np.ndarray,
    contrast: np.ndarray,
    spacing: Spacing,
    given: ContrastSettings,
) -> None:
    """In place, in a box around the points: far from them nothing is added."""
    value = np.zeros(weights.shape, np.float64)
    value[tuple(points.T)] = given.weight * np.exp(-contrast / given.contrast)
    edge = np.zeros(weights.shape, bool)
    edge[tuple(points.T)] = True
    box = _grown(box_of(edge, margin=0), weights.shape, spacing, FAR * given.spread_mm)
    distance, owner = nearest_point(edge[box], spacing)
    near = np.exp(-(distance**2) / (2 * given.spread_mm**2))
    weights[box] += (value[box][tuple(owner)] * near).astype(np.float32)


def nearest_point(
    points: Bool[np.ndarray, "x y z"], spacing: Spacing
) -> tuple[Float[np.ndarray, "x y z"], Int[np.ndarray, "3 x y z"]]:
    """Distance in mm from every voxel to the nearest point, and which one it is."""
    from scipy import ndimage

    distance, owner = ndimage.distance_transform_edt(~points, sampling=spacing, return_indices=True)
    return distance, owner


def _grown(
    box: Sequence[slice], shape: Sequence[int], spacing: Spacing, margin_mm: float
) -> tuple[slice, ...]:
    more = [int(np.ceil(margin_mm / step)) for step in spacing]
    return tuple(
        slice(max(part.start - m, 0), min(part.stop + m, n))
        for part, m, n in zip(box, more, shape, strict=True)
    )
