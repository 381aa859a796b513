"""The one holder of masks: counts and logs every mask it hands out; the log is the budget spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from salearn.cases import IGNORE, CaseId, UnitId, parse_unit, unit_id
from salearn.errors import DataError
from salearn.settings import settings
from salearn.store import append_line, array_hash, read_lines

Purpose = Literal["annotate", "validation", "test", "audit"]


@runtime_checkable
class MaskReader(Protocol):
    """Reads the mask of one case from its file: RAS grid, classes 1..K, uint8."""

    def __call__(self, case: CaseId) -> UInt8[np.ndarray, "x y z"]:
        """The whole mask, or DataError."""
        ...


@settings
class CostModel:
    """Declared seconds of annotation: per unit opened, per slice drawn on, per foreground voxel.

    The defaults are a convention of this project, not a measurement.
    """

    per_unit: float = 30.0
    per_slice: float = 20.0
    per_voxel: float = 0.0

    def seconds(self, slices: int, voxels: int) -> float:
        """Seconds for one unit with this many drawn slices and foreground voxels."""
        return self.per_unit + self.per_slice * slices + self.per_voxel * voxels


class Oracle:
    """Hands out masks of annotated units, and nothing else without saying so in the log.

    Args:
        read: opens the mask file of a case; no other part of the program does.
        log: JSON lines {purpose, round, unit, slices, voxels, seconds}.
        axis: slice axis of slice units.
    """

    def __init__(self, read: MaskReader, log: Path, cost: CostModel, axis: int) -> None:
        self._read = read
        self._log = log
        self._cost = cost
        self._axis = axis
        self._masks: dict[CaseId, np.ndarray] = {}
        self._lines = {(line["purpose"], line["unit"]): line for line in read_lines(log)}

    def annotate(self, units: Sequence[UnitId], round: int) -> None:
        """Spend budget on the units; annotating a unit again costs nothing."""
        for unit in units:
            self._charge("annotate", unit, round)

    def mask(self, case: CaseId) -> UInt8[np.ndarray, "x y z"]:
        """The mask of a labeled case; slices that nobody annotated hold 255 (ignore).

        Raises:
            DataError: no unit of the case has been annotated.
        """
        units = [
            UnitId(u)
            for p, u in self._lines
            if p == "annotate" and parse_unit(UnitId(u))[0] == case
        ]
        if not units:
            raise DataError(f"case {case}: its mask was asked for, but nobody annotated it")
        whole = self._open(case)
        if unit_id(case) in units:
            return whole
        partial = np.full_like(whole, IGNORE)
        for unit in units:
            where = self._where(unit)
            partial[where] = whole[where]
        return partial

    def digest(self, case: CaseId) -> str:
        """Hash of what `mask` gives; it enters the keys of everything trained on it."""
        return array_hash(self.mask(case))

    def foreground(self, unit: UnitId) -> bool:
        """Whether the mask of an annotated unit shows any foreground.

        Raises:
            KeyError: the unit has not been annotated.
        """
        return bool(self._lines["annotate", unit]["voxels"] > 0)

    def reveal(
        self, case: CaseId, purpose: Literal["validation", "test", "audit"], round: int
    ) -> UInt8[np.ndarray, "x y z"]:
        """A whole mask for measuring; logged under its own heading, never budget."""
        self._charge(purpose, unit_id(case), round)
        return self._open(case)

    def spent(self, until_round: int | None = None) -> dict[str, float]:
        """The budget spent so far: cases, slices, voxels, seconds (under the declared model)."""
        lines = [
            line
            for (purpose, _), line in self._lines.items()
            if purpose == "annotate" and (until_round is None or line["round"] <= until_round)
        ]
        return {
            "cases": len({parse_unit(UnitId(line["unit"]))[0] for line in lines}),
            "slices": sum(line["slices"] for line in lines),
            "voxels": sum(line["voxels"] for line in lines),
            "seconds": sum(line["seconds"] for line in lines),
        }

    def _charge(self, purpose: Purpose, unit: UnitId, round: int) -> None:
        if (purpose, unit) in self._lines:
            return
        line = {"purpose": purpose, "round": round, "unit": unit, **self._size(unit)}
        append_line(self._log, line)
        self._lines[purpose, unit] = line

    def _size(self, unit: UnitId) -> Mapping[str, Any]:
        """Slices with foreground (at least one: looking is work), voxels and seconds."""
        drawn = self._open(parse_unit(unit)[0])[self._where(unit)] > 0
        others = tuple(axis for axis in range(3) if axis != self._axis)
        slices = max(1, int(drawn.any(axis=others).sum()))
        voxels = int(drawn.sum())
        return {"slices": slices, "voxels": voxels, "seconds": self._cost.seconds(slices, voxels)}

    def _where(self, unit: UnitId) -> tuple[slice, ...]:
        index = parse_unit(unit)[1]
        where = [slice(None)] * 3
        if index is not None:
            where[self._axis] = slice(index, index + 1)
        return tuple(where)

    def _open(self, case: CaseId) -> np.ndarray:
        if case not in self._masks:
            self._masks[case] = self._read(case)
        return self._masks[case]
