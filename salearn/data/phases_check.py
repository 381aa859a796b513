"""Every defect of a folder of 4-D scans, file by file; never stops at the first one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from salearn.data.checks import CaseRow, Report
from salearn.data.nifti import Decoded, decode
from salearn.data.phases import PhaseSet, PhaseSource, Scan, survey_phases
from salearn.data.source import Defect, DefectError
from salearn.data.volumes import require_finite, strange_values, unknown_values

MEND = "replace the file or leave the patient out"


def check_phases(source: PhaseSource) -> Report:
    """Read every phase and every mask of a 4-D data set and list what is wrong.

    Errors: a phase is missing or lies on another grid, a file holds another number of volumes,
    broken files, NaN or Inf, one phase twice, unknown label values. Warnings: a patient without
    contours, or with contours on some phases only (no ITV can be measured there).

    Raises:
        ConfigError: root, kind, order of the phases or classes are not said.
        DataError: there is nothing to read.
    """
    found, defects = survey_phases(source)
    work = _Check(found, errors=list(defects))
    rows = [work.scan(scan) for scan in found.scans]
    return Report(cases=tuple(rows), errors=tuple(work.errors), warnings=tuple(work.warnings))


@dataclass
class _Check:
    found: PhaseSet
    errors: list[Defect]
    warnings: list[Defect] = field(default_factory=list)

    def scan(self, scan: Scan) -> CaseRow:
        """Look at all files of a patient."""
        parts = [(path, self._try(decode, path, scan.patient)) for path in scan.images]
        read = [(path, part) for path, part in parts if part is not None]
        for path, part in read:
            self._try(require_finite, part, path, scan.patient)
        self._twins(scan, read)
        names = self._masks(scan)
        geometry = read[0][1].geometry if read else None
        return CaseRow(
            case=scan.patient,
            shape=geometry.shape if geometry else (),
            channels=1,
            spacing=geometry.spacing if geometry else (),
            orientation=geometry.orientation if geometry else "",
            classes=names,
            masked=bool(scan.masks),
            patient=scan.patient,
            files=tuple(str(path) for path in (*scan.images, *dict.fromkeys(scan.masks.values()))),
        )

    def _twins(self, scan: Scan, read: list[tuple[Path, Decoded]]) -> None:
        """A phase that is stored twice is a copying error: no two phases have the same noise."""
        seen: dict[str, int] = {}
        volumes = [
            (path, part.array[..., k]) for path, part in read for k in range(part.array.shape[3])
        ]
        for k, (path, voxels) in enumerate(volumes):
            digest = hashlib.sha256(np.ascontiguousarray(voxels).tobytes()).hexdigest()
            other = seen.setdefault(digest, k)
            if other != k:
                problem = f"volumes {other} and {k} (in order of the phases) are the same image"
                self.errors.append(
                    Defect(case=scan.patient, file=str(path), problem=problem, remedy=MEND)
                )

    def _masks(self, scan: Scan) -> tuple[str, ...]:
        """Names of the classes that occur, and what is odd about the masks."""
        there: set[int] = set()
        for path in dict.fromkeys(scan.masks.values()):
            part = self._try(decode, path, scan.patient)
            if part is None:
                continue
            volumes = np.moveaxis(part.array, 3, 0)
            odd = {v for mask in volumes for v in strange_values(mask, self.found.values)}
            if strange := sorted(odd):
                found = unknown_values(strange, self.found.values, path, scan.patient)
                self.errors.append(found.defect)
            there |= {int(v) for v in self.found.values if (part.array == v).any()}
        phases = len(self.found.phases)
        if len(scan.masks) < phases:
            marked = ", ".join(self.found.phases[k] for k in sorted(scan.masks)) or "none"
            self.warnings.append(
                Defect(
                    case=scan.patient,
                    file=str(scan.images[0].parent),
                    problem=f"{len(scan.masks)} of {phases} phases have contours ({marked})",
                    remedy="as a test patient it gives phase scores, but no reference ITV",
                )
            )
        named = zip(self.found.classes, self.found.values, strict=True)
        return tuple(name for name, value in named if value in there)

    def _try(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a step, or None and its defect noted (once)."""
        try:
            return step(*arguments)
        except DefectError as error:
            if error.defect.file not in {defect.file for defect in self.errors}:
                self.errors.append(error.defect)
            return None
