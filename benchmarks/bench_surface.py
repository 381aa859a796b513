"""HD95 + ASSD of mask pairs: ours against MONAI, interleaved in one process, answers compared."""

from __future__ import annotations

import json
import resource
import time
import warnings
from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

import numpy as np

Pair = tuple[np.ndarray, np.ndarray]
Spacing = tuple[float, float, float]
Scores = tuple[float, float]


def ellipsoid(shape: tuple[int, int, int], centre: tuple[float, ...], radii: tuple[float, ...]):
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    parts = [((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radii, strict=True)]
    return parts[0] + parts[1] + parts[2] < 1


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


def timed(score: Callable[[Pair, Spacing], Scores], pair: Pair, spacing: Spacing):
    start = time.process_time()
    answer = score(pair, spacing)
    return time.process_time() - start, answer


def rows() -> Iterator[dict[str, Any]]:
    """One row per case: CPU-seconds of both, and the median of the ratios of adjacent runs."""
    import torch

    torch.set_num_threads(1)
    for name, (make, spacing, repeats) in CASES.items():
        pair = make()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # deprecations inside MONAI
            monai(pair, spacing)  # imports and caches are not what is measured
            runs = [
                (timed(ours, pair, spacing), timed(monai, pair, spacing)) for _ in range(repeats)
            ]
        (_, mine), (_, theirs) = runs[0]
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, err_msg=name)
        yield {
            "bench": "surface",
            "what": f"HD95 + ASSD, {name}",
            "ours_cpu_s": round(median(a for (a, _), _ in runs), 5),
            "other_cpu_s": round(median(b for _, (b, _) in runs), 5),
            "other": "MONAI compute_hausdorff_distance + compute_average_surface_distance",
            "ratio": round(median(b / a for (a, _), (b, _) in runs), 2),
            "pairs": repeats,
            "hd95_mm": round(mine[0], 4),
            "assd_mm": round(mine[1], 4),
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        }


def main() -> None:
    """Print the rows as JSON lines; a ratio above 1 means that ours needs less CPU time."""
    for row in rows():
        print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
