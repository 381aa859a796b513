"""How hard one slice is to segment: foreground region, entropy, ASD of a probability map.

ASD (Anatomical Segmentation Difficulty) is an ASFDA-style reconstruction; the "peak" region is a
reconstruction of UGTST's rule.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

BINS = 256  # of the Otsu histogram over 0..1
PEAK_BINS = 100  # of the entropy histogram of the "peak" region
TAU_RANGE = (0.10, 0.50)  # the Otsu threshold is kept within it

Region = Literal["otsu", "peak", "argmax", "soft"]
Measure = Literal["entropy", "margin"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one probability map says.

    Attributes:
        asd: difficulty 0..1; 0 where the region is too small to be read.
        area: voxels of the region.
        boundary: edges between region and background within the slices.
        missed: the region is smaller than n_min.
        top: mean of the largest values of the uncertainty map, for the miss-guard.
    """

    asd: float
    area: float
    boundary: float
    missed: bool
    top: float


def uncertainty(
    p: Float[np.ndarray, "class *grid"], measure: Measure
) -> Float[np.ndarray, "*grid"]:
    """Entropy over log(classes), or 1 - (largest - second largest probability); 0..1 per voxel."""
    if measure == "margin":
        second, first = np.partition(p, -2, axis=0)[-2:]
        raw = 1 - (first - second)
    else:
        from scipy.special import entr

        raw = entr(p).sum(axis=0) / np.log(len(p))
    value: np.ndarray = np.clip(raw, 0, 1)
    return value


def otsu(values: Float[np.ndarray, "*any"]) -> float:
    """Threshold of largest between-class variance of values in 0..1 (Otsu 1979), 256 bins.

    Between equally good thresholds the middle; 0 where all values share a bin.
    """
    bins = np.minimum((values.ravel() * BINS).astype(np.int64), BINS - 1)
    counts = np.bincount(bins, minlength=BINS).astype(np.float64)
    mass = np.cumsum(counts)[:-1]
    first = np.cumsum(counts * np.arange(BINS))
    rest = counts.sum() - mass
    with np.errstate(divide="ignore", invalid="ignore"):
        between = mass * rest * (first[:-1] / mass - (first[-1] - first[:-1]) / rest) ** 2
    between = np.nan_to_num(between)
    if between.max() == 0:
        return 0.0
    equal = np.flatnonzero(between >= between.max() * (1 - 1e-12))
    return float((equal.mean() + 1) / BINS)


def first_peak(h: Float[np.ndarray, "*any"]) -> float:
    """Centre of the first inner local maximum of the 100-bin histogram over 0..1; 0 if none."""
    counts, edges = np.histogram(h, bins=PEAK_BINS, range=(0, 1))
    inner = counts[1:-1]
    peaks = np.flatnonzero((inner > counts[:-2]) & (inner > counts[2:]))
    if not peaks.size:
        return 0.0
    return float((edges[peaks[0] + 1] + edges[peaks[0] + 2]) / 2)


def region_of(
    p: Float[np.ndarray, "class *grid"], h: Float[np.ndarray, "*grid"], kind: Region
) -> Bool[np.ndarray, "*grid"]:
    """Omega: where the map is read. "otsu" is q > clip(Otsu(q), 0.10, 0.50), q = 1 - p[0]."""
    q = 1 - p[0]
    if kind == "otsu":
        inside = q > np.clip(otsu(q), *TAU_RANGE)
    elif kind == "peak":
        inside = h > first_peak(h)
    elif kind == "argmax":
        inside = p.argmax(axis=0) > 0
    else:
        inside = np.ones(q.shape, dtype=bool)
    found: np.ndarray = np.asarray(inside, dtype=bool)
    return found


def smallest_area(pixels: int, min_pixels: int, min_share: float) -> float:
    """n_min of a slice with so many pixels: max(min_pixels, min_share of the area)."""
    return max(float(min_pixels), min_share * pixels)


def difficulty(
    p: Float[np.ndarray, "class *grid"],
    h: Float[np.ndarray, "*grid"],
    inside: Bool[np.ndarray, "*grid"],
    n_min: float,
    per_class: bool,
) -> float:
    """ASD over a region: sum q H / sum q, or the mean over present classes of sum p_c H / sum p_c.

    A class is present if it is the likeliest foreground class of >= n_min voxels of the region;
    where no class is, the foreground as a whole is read.
    """
    weights, values = p[1:, inside], h[inside]
    if per_class:
        sizes = np.bincount(weights.argmax(axis=0), minlength=len(weights))
        weights = weights[sizes >= n_min]
    if not per_class or not len(weights):
        weights = (1 - p[0][inside])[None]
    total = weights.sum(axis=1, dtype=np.float64)
    summed = (weights * values).sum(axis=1, dtype=np.float64)
    ratio = np.divide(summed, total, out=np.zeros(len(total)), where=total > 0)
    return float(np.clip(ratio.mean(), 0, 1))


def boundary_edges(inside: Bool[np.ndarray, "a b"]) -> int:
    """Pixel edges between the region and what lies beside it (the image border does not count)."""
    return int((inside[1:] != inside[:-1]).sum() + (inside[:, 1:] != inside[:, :-1]).sum())


def top_mean(h: Float[np.ndarray, "*any"], share: float) -> float:
    """Mean of the largest `share` of the values (at least one value)."""
    count = max(1, int(np.ceil(share * h.size)))
    return float(np.partition(h.ravel(), -count)[-count:].mean(dtype=np.float64))


def worst_slab(values: Float[np.ndarray, " slice"], share: float) -> float:
    """Largest mean over a contiguous `share` of the slices (at least one slice)."""
    width = max(1, int(np.ceil(share * len(values))))
    return float(np.convolve(values, np.ones(width), "valid").max() / width)


def inherit(
    values: Float[np.ndarray, " slice"],
    missed: Bool[np.ndarray, " slice"],
    share: float,
    reach: int,
) -> Float[np.ndarray, " slice"]:
    """Missed slices get at least `share` of the largest value within `reach` slices.

    Slices that are not known are NaN; they give nothing and stay NaN.
    """
    out = values.copy()
    for z in np.flatnonzero(missed):
        around = values[max(0, z - reach) : z + reach + 1]
        out[z] = max(values[z], share * np.nanmax(around))
    return out
