"""Held-out parts of what is annotated, so that a choice can be made inside the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

from salearn.cases import IGNORE, CaseId


@dataclass(frozen=True, kw_only=True)
class Fold:
    """Either whole cases are held out, or slabs of the only labeled case.

    Attributes:
        cases: held out; with slabs, the case that they are cut from.
        slabs: number of the fold, number of folds and slices of a slab, or None for whole cases.
        axis: slice axis of the slabs.
    """

    cases: tuple[CaseId, ...]
    slabs: tuple[int, int, int] | None = None
    axis: int = 2

    @property
    def whole(self) -> bool:
        """Whether cases are held out as a whole."""
        return self.slabs is None

    def shown(self, mask: UInt8[np.ndarray, "x y z"]) -> UInt8[np.ndarray, "x y z"]:
        """What training may see of the mask of a case with slabs: 255 where it is held out."""
        return np.where(self._held(mask.shape), np.uint8(IGNORE), mask)

    def hidden(self, mask: UInt8[np.ndarray, "x y z"]) -> UInt8[np.ndarray, "x y z"]:
        """What the score is computed on: 255 where training may see the mask."""
        return np.where(self._held(mask.shape), mask, np.uint8(IGNORE))

    def _held(self, shape: tuple[int, ...]) -> np.ndarray:
        if self.slabs is None:
            return np.ones(shape, dtype=bool)
        index, folds, thickness = self.slabs
        held = (np.arange(shape[self.axis]) // thickness) % folds == index
        view = [1, 1, 1]
        view[self.axis] = shape[self.axis]
        return np.broadcast_to(held.reshape(view), shape)


def make_folds(labeled: Sequence[CaseId], folds: int, slab: int, axis: int) -> list[Fold]:
    """At most `folds` folds by case; with one labeled case, folds of slabs of it (slab 0: none).

    Slabs are neighbors of what is trained on, so their score flatters: it ranks, it does not
    predict. They alternate, because the ends of an organ belong to different classes.
    """
    cases = sorted(labeled)
    if len(cases) > 1:
        count = min(folds, len(cases))
        return [Fold(cases=tuple(cases[i::count])) for i in range(count)]
    if not slab:
        return []
    only = tuple(cases)
    return [Fold(cases=only, slabs=(i, folds, slab), axis=axis) for i in range(folds)]
