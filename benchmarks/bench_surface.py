"""HD95 + ASSD + NSD of mask pairs against MONAI and MedPy; the answers must be the same.

MedPy (GPL) is no dependency: its row is there where it can be imported, e.g. after
`pip install --no-deps --target /tmp/medpy medpy` with PYTHONPATH=/tmp/medpy.
"""

from __future__ import annotations

import importlib.util
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.common import (
    Other,
    Row,
    check,
    compare,
    cpu_seconds,
    emit,
    lone_row,
    one_thread,
)

Pair = tuple[np.ndarray, np.ndarray]
Spacing = tuple[float, float, float]
Scores = tuple[float, ...]
TOLERANCE_MM = 2.0


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


def full() -> Pair:
    """Everything is foreground, around a structure: the search for the walls is long."""
    shape = (120, 100, 70)
    return np.ones(shape, dtype=bool), ellipsoid(shape, (60, 50, 35), (30, 25, 15))


def distant() -> Pair:
    """Two structures in opposite corners."""
    shape = (200, 200, 80)
    return ellipsoid(shape, (40, 40, 20), (35, 25, 18)), ellipsoid(
        shape, (160, 150, 60), (35, 30, 18)
    )


def organ() -> Pair:
    """A lumpy organ in a large CT; the prediction is shifted and has a small false blob."""
    shape, corner = (260, 230, 150), (140, 150, 30)
    inner = ellipsoid(shape, (116, 106, 70), (110, 80, 60))
    inner |= ellipsoid(shape, (176, 76, 60), (70, 50, 40))
    inner |= ellipsoid(shape, (66, 146, 85), (60, 60, 45))
    reference = np.zeros((512, 512, 200), dtype=bool)
    reference[tuple(slice(c, c + n) for c, n in zip(corner, shape, strict=True))] = inner
    prediction = np.roll(reference, (2, -1, 1), axis=(0, 1, 2))
    prediction[85:95, 395:405, 40:48] = True
    return prediction, reference


def ours(pair: Pair, spacing: Spacing) -> Scores:
    from salearn.metrics.surface import surface_distances

    found = surface_distances(*pair, spacing)
    return found.hausdorff(), found.assd, found.nsd(TOLERANCE_MM)


def monai(pair: Pair, spacing: Spacing) -> Scores:
    import torch
    from monai.metrics import (
        compute_average_surface_distance,
        compute_hausdorff_distance,
        compute_surface_dice,
    )

    tensors = [torch.from_numpy(mask)[None, None].float() for mask in pair]
    options: dict[str, Any] = {"include_background": True, "spacing": list(spacing)}
    hd95 = compute_hausdorff_distance(*tensors, percentile=95, **options)
    assd = compute_average_surface_distance(*tensors, symmetric=True, **options)
    nsd = compute_surface_dice(*tensors, [TOLERANCE_MM], **options)
    return hd95.item(), assd.item(), nsd.item()


CT = (0.8, 0.8, 1.5)
CASES: dict[str, tuple[Callable[[], Pair], Spacing, int]] = {
    "hippocampus 36x48x40": (hippocampus, (1.0, 1.0, 1.0), 15),
    "LA 180x135x88": (left_atrium, (0.625, 0.625, 1.25), 7),
    "noise 120x100x70": (noise, (1.0, 1.0, 1.0), 3),
    "full 120x100x70": (full, (1.0, 1.0, 1.0), 3),
    "distant 200x200x80": (distant, (1.0, 1.0, 1.0), 5),
    "organ 512x512x200": (organ, CT, 1),
}


def comparison(name: str, make: Callable[[], Pair], spacing: Spacing, rounds: int) -> list[Row]:
    pair = make()
    other = Other(
        name="MONAI Hausdorff, average surface distance, surface dice",
        run=lambda: monai(pair, spacing),
        tolerance=1e-4,
    )
    what = f"HD95 + ASSD + NSD, {name}"
    return compare("surface", what, lambda: ours(pair, spacing), [other], rounds)


def against_medpy(names: tuple[str, ...]) -> Iterator[Row]:
    """The definitions of MedPy (pooled HD95), on masks that it takes seconds for."""
    if importlib.util.find_spec("medpy") is None:
        return
    from medpy.metric.binary import assd, hd95

    from salearn.metrics.surface import surface_distances

    for name in names:
        make, spacing, _ = CASES[name]
        pair = make()

        def own(pair: Pair = pair, spacing: Spacing = spacing) -> Scores:
            found = surface_distances(*pair, spacing)
            return found.hausdorff_pooled(), found.assd

        def theirs(pair: Pair = pair, spacing: Spacing = spacing) -> Scores:
            return tuple(float(m(*pair, voxelspacing=spacing)) for m in (hd95, assd))

        other = Other(name="MedPy hd95 and assd", run=theirs, tolerance=1e-9)
        yield from compare("surface", f"pooled HD95 + ASSD, {name}", own, [other], 3)


def medpy() -> list[Row]:
    """One call of MedPy, about a minute: it transforms the whole volume four times."""
    if importlib.util.find_spec("medpy") is None:
        print("surface: no row against MedPy; see the head of this file", file=sys.stderr)
        return []
    from medpy.metric.binary import assd, hd95

    from salearn.metrics.surface import surface_distances

    pair = organ()

    def own() -> Scores:
        found = surface_distances(*pair, CT)
        return found.hausdorff_pooled(), found.assd

    theirs: list[float] = []
    mine = [cpu_seconds(own) for _ in range(3)]
    spent = cpu_seconds(
        lambda: theirs.extend([metric(*pair, voxelspacing=CT) for metric in (hd95, assd)])
    )
    what = "pooled HD95 + ASSD, organ 512x512x200"
    gap = check(what, list(own()), theirs, 1e-9)
    ratios = sorted(round(spent / seconds, 1) for seconds in mine)
    row = lone_row("surface", what, 1, float(f"{np.median(mine):.3g}"), None)
    compared = {
        "against": "MedPy hd95 and assd, one call",
        "other_cpu_s": float(f"{spent:.3g}"),
        "ratio": ratios[1],
        "ratio_range": (ratios[0], ratios[2]),
        "difference": gap,
    }
    return [Row(**row | compared)]  # type: ignore[typeddict-item]


def rows() -> Iterator[Row]:
    """Small and large structures, and the masks that a search in a tree is slow for."""
    with one_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside MONAI
        for name, (make, spacing, rounds) in CASES.items():
            yield from comparison(name, make, spacing, rounds)
        yield from against_medpy(("hippocampus 36x48x40", "LA 180x135x88", "noise 120x100x70"))
        yield from medpy()


if __name__ == "__main__":
    emit(rows())
