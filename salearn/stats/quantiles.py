"""Quantiles of bootstrap replicates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def of_columns(replicates: np.ndarray, levels: Sequence[float]) -> np.ndarray:
    """`np.quantile` of each column, to the last bit.

    A column lies together in memory here, and is sorted: with vector instructions that takes a
    third of the time of a partition at four places.
    """
    columns = np.array(replicates.T, order="C")
    last = columns.shape[1] - 1
    places = [level * last for level in levels]
    below = [min(int(place), last) for place in places]
    above = [min(place + 1, last) for place in below]
    columns.sort(axis=1)
    found = []
    for place, low, high in zip(places, below, above, strict=True):
        share, a, b = place - low, columns[:, low], columns[:, high]
        found.append(a + (b - a) * share if share < 0.5 else b - (b - a) * (1 - share))
    return np.array(found)


def quantiles(replicates: np.ndarray, levels: Sequence[float] | np.ndarray) -> list[float]:
    """Of one column; NaN are left out, and beside an infinity the nearest replicate is taken."""
    finite = np.isfinite(replicates)
    if finite.all():
        return [float(value) for value in np.quantile(replicates, levels)]
    # Interpolating next to an infinite value gives NaN; take the nearest replicate instead.
    kept = replicates[~np.isnan(replicates)]
    if not len(kept):
        return [float("nan")] * len(levels)
    return [float(value) for value in np.quantile(kept, levels, method="nearest")]
