"""Check what a person returned: grid, classes, empty, untouched or missing files, by name."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from loops.annotation.manifest import Sheet
from loops.annotation.worklist import TABLE
from loops.workbench import Workbench
from salearn.cases import IGNORE, CaseId, UnitId, parse_unit, unit_box, unit_id
from salearn.data.source import DefectError
from salearn.errors import DataError
from salearn.store import array_hash, file_hash

YES = ("yes", "y", "x", "1", "true", "ja", "ok")


@dataclass(kw_only=True)
class Findings:
    """What a look at one case gave.

    Attributes:
        good: units that can be taken. refused: by name, with what to do. warnings: taken, but look.
    """

    file: Path | None = None
    sha256: str = ""
    good: list[UnitId] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Place:
    """A worklist folder, and where its returned masks are."""

    folder: Path
    masks: Path

    def packed(self, sheet: Sheet) -> Path:
        """The mask file of a case (.nii.gz)."""
        return self.masks / Path(sheet.mask).name


@dataclass(frozen=True, kw_only=True)
class Notes:
    """What people wrote into the table: minutes by unit, and what is right as it is."""

    minutes: Mapping[str, float]
    confirmed: frozenset[str]

    @classmethod
    def read(cls, folder: Path, confirm: Collection[str] = ()) -> Notes:
        """From worklist.csv, which may be gone, saved with semicolons, or half filled in."""
        minutes: dict[str, float] = {}
        confirmed = set(confirm)
        for row in _rows(folder / TABLE):
            unit = (row.get("unit") or "").strip()
            if (row.get("confirm") or "").strip().lower() in YES:
                confirmed.add(unit)
            try:
                minutes[unit] = float((row.get("minutes") or "").strip().replace(",", "."))
            except ValueError:
                continue
        return cls(minutes=minutes, confirmed=frozenset(confirmed))

    def confirms(self, unit: UnitId) -> bool:
        """Whether the unit, or its whole case, was said to be right as it is."""
        return unit in self.confirmed or parse_unit(unit)[0] in self.confirmed


def _rows(path: Path) -> list[dict[str, str]]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    head = lines[0] if lines else ""
    mark = max((",", ";", "\t"), key=head.count)
    return list(csv.DictReader(lines, delimiter=mark))


def look(
    bench: Workbench, sheet: Sheet, place: Place, units: Sequence[UnitId], notes: Notes
) -> Findings:
    """Check the mask of one case for the units that are still open."""
    found = Findings()

    def refuse(problem: str, remedy: str, about: Sequence[UnitId] = units) -> Findings:
        file = str(found.file or place.packed(sheet))
        line = {"case": sheet.case, "units": list(about), "file": file}
        found.refused.append(line | {"problem": problem, "remedy": remedy})
        return found

    files = _files(place, sheet)
    if not files:
        return refuse("the file is missing", "put it there, or add --close to give it up")
    if len(files) > 1:
        return refuse(f"{files[1].name} lies beside it", "keep the one that is meant")
    found.file, found.sha256 = files[0], file_hash(files[0])
    try:
        mask = bench.read_mask(CaseId(sheet.case), files[0])
    except DefectError as error:
        return refuse(error.defect.problem, error.defect.remedy)
    except DataError as error:
        return refuse(str(error), "mend the file")
    _judge(bench, sheet, place.folder, mask, units, notes, found, refuse)
    return found


def _judge(
    bench: Workbench,
    sheet: Sheet,
    folder: Path,
    mask: np.ndarray,
    units: Sequence[UnitId],
    notes: Notes,
    found: Findings,
    refuse: Any,
) -> None:
    """Sort the units of a readable mask into good and refused."""
    axis = bench.config.data.axis
    start = _start(bench, sheet, folder)
    same = {unit: _same(mask, start, unit, sheet, axis) for unit in units}
    for unit in units:
        part = mask[unit_box(unit, axis)]
        if (part == IGNORE).all():
            refuse("every voxel is marked as not annotated", "annotate it", [unit])
        elif notes.confirms(unit):
            found.good.append(unit)
        elif all(same.values()):
            refuse(*_untouched(sheet, unit), [unit])
        elif unit_id(parse_unit(unit)[0]) == unit and not _drawn(part).any():
            refuse("the mask is empty", _confirm("draw what is there", unit), [unit])
        else:
            found.good.append(unit)
            if same[unit] and sheet.predicted:
                _warn(found, sheet, unit, "is as the model predicted it, others were changed")
    if start is not None and units and _outside(mask, start, sheet, axis):
        _warn(found, sheet, units[0], "was drawn outside of what was asked; that is left aside")


def _files(place: Place, sheet: Sheet) -> list[Path]:
    """The mask as returned: under its name, or as .nii; the untouched one of two is left aside."""
    packed = place.packed(sheet)
    plain = packed.with_name(packed.name.removesuffix(".gz"))
    found = [path for path in (packed, plain) if path.is_file()]
    if len(found) == 2 and file_hash(packed) == sheet.start_sha256:
        return [plain]
    return found


def _start(bench: Workbench, sheet: Sheet, folder: Path) -> np.ndarray | None:
    """The starting mask, if it is still there as it was written."""
    path = folder / "start" / Path(sheet.mask).name
    if not path.is_file() or file_hash(path) != sheet.start_sha256:
        return None
    return bench.read_mask(CaseId(sheet.case), path)


def _same(
    mask: np.ndarray, start: np.ndarray | None, unit: UnitId, sheet: Sheet, axis: int
) -> bool:
    if start is None:
        return array_hash(mask) == sheet.start
    box = unit_box(unit, axis)
    return bool((mask[box] == start[box]).all())


def _outside(mask: np.ndarray, start: np.ndarray, sheet: Sheet, axis: int) -> bool:
    changed = mask != start
    for unit in sheet.units:
        changed[unit_box(UnitId(unit), axis)] = False
    return bool((changed & (mask != IGNORE)).any())


def _drawn(part: np.ndarray) -> np.ndarray:
    return np.asarray((part > 0) & (part != IGNORE))


def _untouched(sheet: Sheet, unit: UnitId) -> tuple[str, str]:
    if sheet.predicted:
        return "nothing was changed in the starting mask", _confirm("correct it", unit)
    return "nothing is drawn in it", _confirm("draw what is there", unit)


def _confirm(what: str, unit: UnitId) -> str:
    return f"{what}; if it is right as it is, write yes into its 'confirm' or add --confirm {unit}"


def _warn(found: Findings, sheet: Sheet, unit: UnitId, problem: str) -> None:
    line = {"case": sheet.case, "units": [unit], "file": str(found.file), "problem": problem}
    found.warnings.append(line | {"remedy": "look at it if that was not meant"})
