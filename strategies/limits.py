"""Hard constraints of a batch: which rows may still be picked, and in what order rules give way."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float

from salearn.cases import UnitId, parse_unit
from strategies.terms import group_rows, snap

log = logging.getLogger(__name__)

# The first is given up first if the batch cannot be filled. Isolated units and units without
# an embedding stay out longest: they are junk, the others are only redundant.
RELAXED = ("near_duplicate", "slice_gap", "per_volume", "gate", "blank")


class Limits:
    """Which rows may be picked now.

    Args:
        units: the candidates, in the order of the rows.
        near_duplicate: rows with a larger cosine to anything covered are out; None = no such rule.
    """

    def __init__(self, units: Sequence[UnitId], near_duplicate: float | None = None) -> None:
        places = [parse_unit(u) for u in units]
        self._volume = group_rows([str(case) for case, _ in places])
        self._slice = np.array([-1 if z is None else z for _, z in places], dtype=np.int64)
        self._taken = np.zeros(len(units), dtype=bool)
        self._shut: dict[str, np.ndarray] = {}
        self._count = np.zeros(int(self._volume.max(initial=-1)) + 1, dtype=np.int64)
        self._cap = self._gap = 0
        self._near = near_duplicate

    def shut(self, rule: str, rows: Bool[np.ndarray, " unit"]) -> None:
        """Keep these rows out until the rule is relaxed."""
        self._shut[rule] = rows.copy()

    def cap_per_volume(self, cap: int | None, n: int) -> None:
        """At most `cap` rows of a volume; None = max(1, ceil(3 n / number of volumes))."""
        default = max(1, math.ceil(3 * n / max(len(self._count), 1)))
        self._cap = default if cap is None else cap
        self._shut["per_volume"] = np.zeros(len(self._taken), dtype=bool)

    def slice_gap(self, gap: int, units: Sequence[UnitId], labeled: Sequence[UnitId]) -> None:
        """Slices of a volume must lie >= gap apart from each other and from labeled ones."""
        self._gap = gap
        self._shut["slice_gap"] = np.zeros(len(self._taken), dtype=bool)
        volume = {parse_unit(u)[0]: code for u, code in zip(units, self._volume, strict=True)}
        for unit in labeled:
            case, z = parse_unit(unit)
            if z is not None and case in volume:
                self._close(int(volume[case]), z)

    def _close(self, volume: int, z: int) -> None:
        near = (self._volume == volume) & (self._slice >= 0) & (abs(self._slice - z) < self._gap)
        self._shut["slice_gap"] |= near

    def take(self, row: int) -> None:
        """Note that a row is picked."""
        self._taken[row] = True
        volume = int(self._volume[row])
        self._count[volume] += 1
        if "per_volume" in self._shut and self._count[volume] >= self._cap:
            self._shut["per_volume"] |= self._volume == volume
        if "slice_gap" in self._shut and self._slice[row] >= 0:
            self._close(volume, int(self._slice[row]))

    def free(self, part: slice, nearest: Float[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Rows of a part that may be picked, given their largest cosine to what is covered."""
        out = self._taken[part].copy()
        for rows in self._shut.values():
            out |= rows[part]
        if self._near is not None:
            out |= snap(nearest) > self._near
        return ~out

    def relax(self) -> bool:
        """Give up the first rule of RELAXED that is still held; False if there is none."""
        rules = [*self._shut, *(["near_duplicate"] if self._near is not None else [])]
        for rule in RELAXED:
            if rule in rules:
                log.warning("the batch cannot be filled: the rule %s is given up", rule)
                self._shut.pop(rule, None)
                self._near = None if rule == "near_duplicate" else self._near
                return True
        return False
