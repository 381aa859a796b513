"""Hard constraints of a batch: which rows may still be picked, and in what order rules give way."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from salearn.cases import UnitId, parse_unit, parse_units
from strategies.terms import group_rows, snap

log = logging.getLogger(__name__)

# The first is given up first if the batch cannot be filled. Isolated units and units without
# an embedding stay out longest: they are junk, the others are only redundant.
RELAXED = (
    "class_quota", "near_duplicate", "slice_gap", "per_patient", "per_volume", "gate", "blank",
)  # fmt: skip


class Limits:
    """Which rows may be picked now.

    Args:
        units: the candidates, in the order of the rows.
        near_duplicate: rows with a larger cosine to anything covered are out; None = no such rule.
    """

    def __init__(self, units: Sequence[UnitId], near_duplicate: float | None = None) -> None:
        cases, self._slice = parse_units(units)
        self._volume = group_rows(cases)
        self._taken = np.zeros(len(units), dtype=bool)
        self._shut: dict[str, np.ndarray] = {}
        self._caps: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # group of a row; room in groups
        self._classes = np.zeros(0, dtype=np.int64)
        self._owed = np.zeros(1, dtype=np.int64)
        self._gap = self._slots = 0
        self._near = near_duplicate

    def shut(self, rule: str, rows: Bool[np.ndarray, " unit"]) -> None:
        """Keep these rows out until the rule is relaxed."""
        self._shut[rule] = rows.copy()

    def cap_per_volume(self, cap: int | None, n: int) -> None:
        """At most `cap` rows of a volume; None = max(1, ceil(3 n / number of volumes))."""
        volumes = int(self._volume.max(initial=-1)) + 1
        default = max(1, math.ceil(3 * n / max(volumes, 1)))
        self._cap_groups("per_volume", self._volume, default if cap is None else cap)

    def cap_per_patient(self, cap: int, patients: Sequence[str]) -> None:
        """At most `cap` rows of a patient; `patients` names that of every row."""
        self._cap_groups("per_patient", group_rows(list(patients)), cap)

    def _cap_groups(self, rule: str, group: np.ndarray, cap: int) -> None:
        room = np.full(int(group.max(initial=-1)) + 1, cap, dtype=np.int64)
        self._caps[rule] = (group, room)
        self._shut[rule] = np.zeros(len(self._taken), dtype=bool)

    def class_quota(
        self, classes: Int[np.ndarray, " unit"], least: Int[np.ndarray, " class"], n: int
    ) -> None:
        """Of the n rows to pick at least `least[c]` shall be of class c; class -1 = of none.

        A class asks for no more rows than it has.
        """
        there = np.bincount(classes[classes >= 0], minlength=len(least))[: len(least)]
        self._classes, self._slots = classes, n
        self._owed = np.append(np.minimum(least, there), 0)  # the last place: rows of no class
        self._reserve()

    def _reserve(self) -> None:
        """While places are only enough for what is owed, other rows are out."""
        full = self._slots <= self._owed.sum()
        others = self._owed[self._classes] == 0
        self._shut["class_quota"] = others if full and self._owed.any() else np.zeros_like(others)

    def slice_gap(self, gap: int, units: Sequence[UnitId], labeled: Sequence[UnitId]) -> None:
        """Slices of a volume must lie >= gap apart from each other and from labeled ones."""
        self._gap = gap
        self._shut["slice_gap"] = np.zeros(len(self._taken), dtype=bool)
        volume = dict(zip(parse_units(units)[0], self._volume.tolist(), strict=True))
        for unit in labeled:
            case, z = parse_unit(unit)
            if z is not None and case in volume:
                self._close(volume[case], z)

    def _close(self, volume: int, z: int) -> None:
        near = (self._volume == volume) & (self._slice >= 0) & (abs(self._slice - z) < self._gap)
        self._shut["slice_gap"] |= near

    def take(self, row: int) -> None:
        """Note that a row is picked."""
        self._taken[row] = True
        for rule, (group, room) in self._caps.items():
            room[group[row]] -= 1
            if rule in self._shut and room[group[row]] <= 0:
                self._shut[rule] |= group == group[row]
        if "slice_gap" in self._shut and self._slice[row] >= 0:
            self._close(int(self._volume[row]), int(self._slice[row]))
        if "class_quota" in self._shut:
            self._slots -= 1
            self._owed[self._classes[row]] = max(0, self._owed[self._classes[row]] - 1)
            self._reserve()

    def free(self, part: slice, nearest: Float[np.ndarray, " row"]) -> Bool[np.ndarray, " row"]:
        """Rows of a part that may be picked, given their largest cosine to what is covered."""
        out = self._taken[part].copy()
        for rows in self._shut.values():
            out |= rows[part]
        if self._near is not None:
            out |= snap(nearest) > self._near
        return ~out

    @property
    def held(self) -> tuple[str, ...]:
        """The rules that are still held, in the order in which they are given up."""
        rules = {*self._shut, *(["near_duplicate"] if self._near is not None else [])}
        return tuple(rule for rule in RELAXED if rule in rules)

    def relax(self) -> bool:
        """Give up the first rule of RELAXED that is still held; False if there is none."""
        for rule in self.held:
            log.warning("the batch cannot be filled: the rule %s is given up", rule)
            self._shut.pop(rule, None)
            self._near = None if rule == "near_duplicate" else self._near
            return True
        return False
