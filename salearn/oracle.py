"""The one holder of masks: counts and logs every mask it hands out; the log is the budget spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from salearn.cases import IGNORE, CaseId, UnitId, parse_unit, unit_box, unit_id
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


@runtime_checkable
class ReturnedReader(Protocol):
    """Reads a mask that a person returned; RAS grid of the case, classes 1..K, uint8."""

    def __call__(self, case: CaseId, file: str, sha256: str) -> UInt8[np.ndarray, "x y z"]:
        """The whole mask, or DataError (also if the file is not the one that was accepted)."""
        ...


@settings
class CostModel:
    """Declared seconds of annotation: per unit opened, per slice drawn on, per foreground voxel.

    A part of a slice (in a patch) counts as a slice. The defaults are a convention of this
    project, not a measurement.
    """

    per_unit: float = 30.0
    per_slice: float = 20.0
    per_voxel: float = 0.0

    def seconds(self, slices: int, voxels: int) -> float:
        """Seconds for one unit with this many drawn slices and foreground voxels."""
        return self.per_unit + self.per_slice * slices + self.per_voxel * voxels


class Oracle:
    """Hands out masks of annotated units, and nothing else without saying so in the log.

    A unit was annotated by the data set's mask file (a simulation) or by a person; the line of a
    person's unit names the returned file and its hash.

    Args:
        read: opens the mask file of a case; no other part of the program does.
        log: JSON lines {purpose, round, unit, slices, voxels, seconds, classes: voxels of each}, of
            people also {file, sha256}.
        axis: slice axis of slice units.
        returned: opens a mask that a person drew.
    """

    def __init__(
        self,
        read: MaskReader,
        log: Path,
        cost: CostModel,
        axis: int,
        returned: ReturnedReader | None = None,
    ) -> None:
        self._read = read
        self._log = log
        self._cost = cost
        self._axis = axis
        self._returned = returned
        self._masks: dict[tuple[CaseId, str | None], np.ndarray] = {}
        self._lines: dict[tuple[str, str], dict[str, Any]] = {}
        self._units: dict[CaseId, list[UnitId]] = {}
        for line in read_lines(log):
            self._note(line)

    def annotate(self, units: Sequence[UnitId], round: int) -> None:
        """Spend budget on the units; annotating a unit again costs nothing."""
        for unit in units:
            self._charge("annotate", unit, round)

    def accept(self, unit: UnitId, round: int, source: Mapping[str, Any]) -> None:
        """Note that a person annotated a unit; a unit that is annotated already stays as it is.

        Args:
            source: {"file", "sha256"} of the returned mask, and what else the log should say; with
                "seconds" it costs those, and not what drawing it would by the cost model.
        """
        self._charge("annotate", unit, round, source)

    def annotated(self, round: int | None = None) -> dict[UnitId, Mapping[str, Any]]:
        """The lines of all annotated units (or of one round's), in the order of the log."""
        return {
            UnitId(unit): line
            for (purpose, unit), line in self._lines.items()
            if purpose == "annotate" and round in (None, line["round"])
        }

    def mask(self, case: CaseId) -> UInt8[np.ndarray, "x y z"]:
        """The mask of a labeled case; voxels that nobody annotated hold 255 (ignore).

        Raises:
            DataError: no unit of the case has been annotated.
        """
        units = self._units.get(case, [])
        if not units:
            raise DataError(f"case {case}: its mask was asked for, but nobody annotated it")
        if units == [unit_id(case)]:
            return self._source(units[0])
        partial = np.full_like(self._source(units[0]), IGNORE)
        for unit in units:
            box = unit_box(unit, self._axis)
            partial[box] = self._source(unit)[box]
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
        return self._open(case, None)

    def spent(self, until_round: int | None = None) -> dict[str, float]:
        """The budget spent so far: cases, slices, voxels, seconds (under the declared model)."""
        lines = [
            line
            for line in self.annotated().values()
            if until_round is None or line["round"] <= until_round
        ]
        return {
            "cases": len({parse_unit(UnitId(line["unit"]))[0] for line in lines}),
            "slices": sum(line["slices"] for line in lines),
            "voxels": sum(line["voxels"] for line in lines),
            "seconds": sum(line["seconds"] for line in lines),
        }

    def _note(self, line: dict[str, Any]) -> None:
        purpose, unit = line["purpose"], UnitId(line["unit"])
        self._lines[purpose, unit] = line
        if purpose == "annotate":
            self._units.setdefault(parse_unit(unit)[0], []).append(unit)

    def _charge(
        self, purpose: Purpose, unit: UnitId, round: int, source: Mapping[str, Any] | None = None
    ) -> None:
        if (purpose, unit) in self._lines:
            return
        line = {"purpose": purpose, "round": round, "unit": unit, **(source or {})}
        whole = self._open(parse_unit(unit)[0], line)
        earlier = self._units.get(parse_unit(unit)[0], []) if purpose == "annotate" else []
        line |= self._size(unit, whole, earlier)
        if source and "seconds" in source:  # clicked and corrected, not drawn: another cost
            line["seconds"] = source["seconds"]
        append_line(self._log, line)
        self._note(line)

    def _size(self, unit: UnitId, whole: np.ndarray, earlier: Sequence[UnitId]) -> dict[str, Any]:
        """Slices with new foreground (at least one: looking is work), voxels and seconds."""
        box = unit_box(unit, self._axis)
        drawn = (whole[box] > 0) & (whole[box] != IGNORE)
        for other in earlier:
            drawn[_inside(unit_box(other, self._axis), box, whole.shape)] = False
        others = tuple(axis for axis in range(3) if axis != self._axis)
        slices = max(1, int(drawn.any(axis=others).sum()))
        voxels = int(drawn.sum())
        labels, counts = np.unique(whole[box][drawn], return_counts=True)
        classes = {str(label): int(count) for label, count in zip(labels, counts, strict=True)}
        seconds = self._cost.seconds(slices, voxels)
        return {"slices": slices, "voxels": voxels, "seconds": seconds, "classes": classes}

    def _source(self, unit: UnitId) -> np.ndarray:
        """The whole mask that an annotated unit is part of."""
        return self._open(parse_unit(unit)[0], self._lines["annotate", unit])

    def _open(self, case: CaseId, line: Mapping[str, Any] | None) -> np.ndarray:
        file = line.get("file") if line else None
        if (case, file) not in self._masks:
            if file is None or line is None:
                self._masks[case, None] = self._read(case)
            elif self._returned is None:
                raise DataError(f"case {case}: {file} was drawn by a person; give `returned`")
            else:
                self._masks[case, file] = self._returned(case, file, line["sha256"])
        return self._masks[case, file]


def _inside(
    part: tuple[slice, ...], box: tuple[slice, ...], shape: tuple[int, ...]
) -> tuple[slice, ...]:
    """Where `part` lies in the array cut out by `box`; empty slices where they do not meet."""
    found = []
    for one, room, side in zip(part, box, shape, strict=True):
        first, last, _ = one.indices(side)
        low, high, _ = room.indices(side)
        first, last = max(first, low), min(last, high)
        found.append(slice(first - low, max(first, last) - low))
    return tuple(found)
