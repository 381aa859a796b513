"""HD95 + ASSD of mask pairs against MONAI's metrics; the answers must be the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.common import Other, Row, compare, emit, one_thread

Pair = tuple[np.ndarray, np.ndarray]
Spacing = tuple[float, float, float]
Scores = tuple[float, float]


def ellipsoid(
    shape: tuple[int, int, int], centre: tuple[float, ...], radii: tuple[float, ...]
) -> np.ndarray:
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    parts = [((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radii, strict=True)]
    inside: np.ndarray = parts[0] + parts[1] + parts[2] < 1
    return inside


def hippocampus() -> Pair:
    shape = (36, 48, 40)
    reference = ellipsoid(shape, (18, 24, 20), (7, 18, 8))
    return ellipsoid(shape, (19, 23, 20), (7, 19, 7)), reference


def left_atrium() -> Pair:
    """A lumpy body of LA size; the prediction is shifted and has a distant false blob."""
    shape = (180, 135, 88)
    reference = ellipsoid(shape, (90, 66, 42), (50, 36, 28))
    reference |= ellipsoid(shape, (60, 40, 55), (25, 14, 12))
    prediction = np.roll(reference, (2, -1, 1), axis=(0, 1, 2))
    prediction |= ellipsoid(shape, (165, 120, 75), (6, 6, 5))
    return prediction, reference


def noise() -> Pair:
    """What an untrained network draws: nearly every voxel is surface."""
    shape = (120, 100, 70)
    rng = np.random.default_rng(0)
    return rng.random(shape) < 0.3, ellipsoid(shape, (60, 50, 35), (40, 30, 20))


def ours(pair: Pair, spacing: Spacing) -> Scores:
    from salearn.metrics.surface import surface_distances

    found = surface_distances(*pair, spacing)
    return found.hausdorff(), found.assd


def monai(pair: Pair, spacing: Spacing) -> Scores:
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    tensors = [torch.from_numpy(mask)[None, None].float() for mask in pair]
    options: dict[str, Any] = {"include_background": True, "spacing": list(spacing)}
    hd95 = compute_hausdorff_distance(*tensors, percentile=95, **options)
    assd = compute_average_surface_distance(*tensors, symmetric=True, **options)
    return hd95.item(), assd.item()


CASES: dict[str, tuple[Callable[[], Pair], Spacing, int]] = {
    "hippocampus 36x48x40": (hippocampus, (1.0, 1.0, 1.0), 15),
    "LA 180x135x88": (left_atrium, (0.625, 0.625, 1.25), 7),
    "noise 120x100x70": (noise, (1.0, 1.0, 1.0), 3),
}


def comparison(name: str, make: Callable[[], Pair], spacing: Spacing, rounds: int) -> list[Row]:
    pair = make()
    other = Other(
        name="MONAI Hausdorff and average surface distance",
        run=lambda: monai(pair, spacing),
        tolerance=1e-4,
    )
    what = f"HD95 + ASSD, {name}"
    return compare("surface", what, lambda: ours(pair, spacing), [other], rounds)


def rows() -> list[Row]:
    """A small structure, a large one, and noise."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside MONAI
        found: list[Row] = []
        for name, (make, spacing, rounds) in CASES.items():
            found += comparison(name, make, spacing, rounds)
        return found


if __name__ == "__main__":
    emit(rows())
