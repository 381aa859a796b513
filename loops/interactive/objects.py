"""What is asked about a case: the slices that show a class, and the slices as images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from salearn.models.pixels import Window
from salearn.prompts.door import Reference


@dataclass(frozen=True)
class Target:
    """One class on one slice."""

    label: int
    index: int


def targets_of(reference: Reference, num_classes: int, axis: int, most: int | None) -> list[Target]:
    """Slices that show a class, of each class at most so many, evenly spread from first to last."""
    found: list[Target] = []
    others = tuple(i for i in range(3) if i != axis)
    for label in range(1, num_classes + 1):
        shown = np.flatnonzero((reference.mask == label).any(axis=others))
        if most is not None and len(shown) > most:
            shown = shown[np.linspace(0, len(shown) - 1, most).round().astype(int)]
        found += [Target(label, int(index)) for index in shown]
    return found


def slices_of(
    image: Float[np.ndarray, "channel x y z"], axis: int, indices: Sequence[int]
) -> list[Float[np.ndarray, "channel h w"]]:
    """Slices with intensities -1..1, windowed by the whole volume."""
    scaled = Window.of(image).scaled(image)
    return [scaled.take(index, axis + 1) for index in indices]
