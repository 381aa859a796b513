"""SFR's random monotone intensity map, slice by slice."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Float

POINTS = 1000  # of the curve that intensities are interpolated on


def bezier_slices(
    image: Float[np.ndarray, "channel x y z"],
    axis: int,
    domain: Literal["unit", "zscored"],
    rng: np.random.Generator,
    probability: float = 0.5,
) -> Float[np.ndarray, "channel x y z"]:
    """Each slice, with the given probability, through its own monotone cubic map of [0, 1].

    Args:
        domain: "unit" brings a slice to 0..1 first and back afterwards. "zscored" maps the
            normalised intensities as they are: all below 0 and above 1 become 0 and 1, which is
            what the released code does (about two thirds of a slice are flattened).

    Source: SFR's released code (Models Genesis map), its defect as an option.
    """
    changed = np.moveaxis(np.array(image), axis + 1, 0)  # a copy, slices first
    for index in range(len(changed)):
        if rng.random() < probability:
            changed[index] = _mapped(changed[index], domain, rng)
    return np.ascontiguousarray(np.moveaxis(changed, 0, axis + 1))


def _mapped(part: np.ndarray, domain: str, rng: np.random.Generator) -> np.ndarray:
    low, span = 0.0, 1.0
    if domain == "unit":
        low, span = float(part.min()), max(float(np.ptp(part)), 1e-6)
    x, y = _curve(rng)
    mapped: np.ndarray = np.interp((part - low) / span, x, y) * span + low
    return mapped.astype(np.float32)


def _curve(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A cubic Bezier curve from (0, 0) to (1, 1), sorted so that it rises."""
    a, b = rng.random((2, 2))
    t = np.linspace(0, 1, POINTS)
    x, y = (3 * (1 - t) ** 2 * t * a[i] + 3 * (1 - t) * t**2 * b[i] + t**3 for i in (0, 1))
    return np.sort(x), np.sort(y)
