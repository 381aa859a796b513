"""Every case and every defect of a data set, in one pass; one of two places that open masks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from salearn.cases import Case, CaseId
from salearn.data.formats import survey
from salearn.data.nifti import Decoded, Geometry, decode, require_same_grid
from salearn.data.pictures import lossy
from salearn.data.source import PICTURES, Dataset, DataSource, Defect, DefectError
from salearn.data.volumes import (
    require_finite,
    single_channel,
    strange_values,
    unknown_values,
)

__all__ = ["CaseRow", "Report", "check", "render"]


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """What is known of one case; lists are empty where the image cannot be read.

    Attributes:
        shape: voxels along the file's own axes; spacing in mm along them.
        orientation: where those axes point, e.g. "RAS".
        classes: names of the classes that occur in the mask.
        masked: whether the case has a mask file.
        files: images first, then the mask.
    """

    case: str
    shape: tuple[int, ...]
    channels: int
    spacing: tuple[float, ...]
    orientation: str
    classes: tuple[str, ...]
    masked: bool
    patient: str | None
    files: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Report:
    """All cases of a data set and everything that is wrong with it.

    Attributes:
        errors: must be mended before the case can be used.
        warnings: can be used, but look at it.
    """

    cases: tuple[CaseRow, ...]
    errors: tuple[Defect, ...]
    warnings: tuple[Defect, ...]

    @property
    def ok(self) -> bool:
        """No error (warnings are allowed)."""
        return not self.errors

    def to_json(self) -> dict[str, Any]:
        """Plain values, as `salearn data check --json` prints them."""
        return {
            "num_cases": len(self.cases),
            "cases": [asdict(row) for row in self.cases],
            "errors": [asdict(defect) for defect in self.errors],
            "warnings": [asdict(defect) for defect in self.warnings],
        }


def check(source: DataSource, progress: Callable[[int, int], None] | None = None) -> Report:
    """Read every file of a data set and list what is wrong; never stops at the first defect.

    Errors: unreadable or missing files, image and mask (or two channels) on different grids,
    NaN or Inf, a constant image, unknown label values, float masks with broken values, the same
    image under two ids (it could be in training and in test), wrong keys, a mask without image.
    Warnings: float masks with whole numbers, a constant channel among others, an empty mask, a
    class that no mask has, cases with different numbers of channels, masks stored as JPEG.

    Args:
        progress: called with cases done and all cases.

    Raises:
        ConfigError: no root is set, or a setting contradicts another.
    """
    try:
        dataset, defects = survey(source)
    except DefectError as error:
        return Report(cases=(), errors=(error.defect,), warnings=())
    work = _Check(dataset, errors=list(defects))
    rows = []
    for done, case in enumerate(dataset.cases, start=1):
        rows.append(work.case(case))
        if progress is not None:
            progress(done, len(dataset.cases))
    work.missing_classes(rows)
    work.channels(rows)
    return Report(cases=tuple(rows), errors=tuple(work.errors), warnings=tuple(work.warnings))


@dataclass
class _Check:
    """The defects found so far; each method looks at one thing and goes on."""

    dataset: Dataset
    errors: list[Defect]
    warnings: list[Defect] = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)  # content of an image -> case

    def case(self, case: Case) -> CaseRow:
        parts = [(path, self._attempt(decode, path, case.id)) for path in case.images]
        readable = [(path, part) for path, part in parts if part is not None]
        self._images(case, readable)
        mask = self.dataset.masks.get(case.id)
        geometry = readable[0][1].geometry if readable else None
        present = () if mask is None else self._mask(case.id, mask, geometry)
        files = [*case.images, *([] if mask is None else [mask])]
        return CaseRow(
            case=case.id,
            shape=geometry.shape if geometry else (),
            channels=sum(part.array.shape[3] for _, part in readable),
            spacing=geometry.spacing if geometry else (),
            orientation=geometry.orientation if geometry else "",
            classes=present,
            masked=mask is not None,
            patient=case.patient,
            files=tuple(str(path) for path in files),
        )

    def missing_classes(self, rows: Sequence[CaseRow]) -> None:
        masked = sum(row.masked for row in rows)
        found = {name for row in rows for name in row.classes}
        for name in self.dataset.classes if masked else ():
            if name not in found:
                problem = f"class '{name}' occurs in none of the {masked} masks"
                self._warn("", self.dataset.root, problem, "check the declared classes")

    def channels(self, rows: Sequence[CaseRow]) -> None:
        """Pictures in gray and in colour side by side cannot be trained on together as they are."""
        counts = sorted({row.channels for row in rows if row.channels})
        if len(counts) > 1:
            problem = f"cases have {' and '.join(map(str, counts))} channels"
            remedy = "set data.recipe.color=gray, or mend the files"
            self._warn("", self.dataset.root, problem, remedy)

    def _images(self, case: Case, parts: Sequence[tuple[Path, Decoded]]) -> None:
        first = parts[0][1].geometry if parts else None
        for path, part in parts:
            self._attempt(require_same_grid, first, part.geometry, path, case.id, "first channel")
            self._attempt(require_finite, part, path, case.id)
            self._contrast(path, part, case.id, alone=len(parts) == 1)
        if len(parts) == len(case.images):
            self._duplicate(case, parts)

    def _contrast(self, path: Path, part: Decoded, case: CaseId, alone: bool) -> None:
        flat = [bool(channel.min() == channel.max()) for channel in np.moveaxis(part.array, 3, 0)]
        if not any(flat):
            return
        remedy = "replace the image or leave the case out"
        if alone and all(flat):
            problem = f"every voxel of the image is {part.array.flat[0]:g}"
            self.errors.append(Defect(case=case, file=str(path), problem=problem, remedy=remedy))
        else:
            self._warn(case, path, "a channel has the same value everywhere", remedy)

    def _duplicate(self, case: Case, parts: Sequence[tuple[Path, Decoded]]) -> None:
        digest = hashlib.sha256()
        for _, part in parts:
            digest.update(repr(part.array.shape).encode())
            digest.update(np.ascontiguousarray(part.array, dtype=np.float32).tobytes())
        other = self.seen.setdefault(digest.hexdigest(), case.id)
        if other != case.id:
            problem = f"the same image as case {other}: it could be in training and in test"
            remedy = "take one of the two away"
            file = str(case.images[0])
            self.errors.append(Defect(case=case.id, file=file, problem=problem, remedy=remedy))

    def _mask(self, case: CaseId, path: Path, geometry: Geometry | None) -> tuple[str, ...]:
        """Names of the classes that occur in a mask."""
        decoded = self._attempt(decode, path, case)
        mask = decoded and self._attempt(single_channel, decoded, path, case)
        if decoded is None or mask is None:
            return ()
        if geometry is not None:
            self._attempt(require_same_grid, geometry, decoded.geometry, path, case, "image")
        dataset = self.dataset
        strange = strange_values(mask, dataset.values_allowed) if dataset.values else []
        if strange:
            self.errors.append(unknown_values(strange, dataset.values, path, case).defect)
        elif not decoded.integer:
            remedy = "store masks as uint8; whole numbers in a float file are read all the same"
            self._warn(case, path, "the mask is stored as floating point", remedy)
        elif lossy(path):
            remedy = "store masks as PNG; only their values happen to be clean here"
            self._warn(case, path, "the mask is stored as JPEG", remedy)
        if not mask.any():
            self._warn(case, path, "the mask is empty", "check that this is meant")
        named = zip(dataset.classes, dataset.values, strict=True)
        return tuple(name for name, value in named if (mask == value).any())

    def _warn(self, case: str, path: Path, problem: str, remedy: str) -> None:
        self.warnings.append(Defect(case=case, file=str(path), problem=problem, remedy=remedy))

    def _attempt(self, step: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a step, or None and its defect noted."""
        try:
            return step(*arguments)
        except DefectError as error:
            self.errors.append(error.defect)
            return None


def render(report: Report) -> str:
    """The report as plain text: a line per case, then errors and warnings with what to do."""
    flat = any(path.lower().endswith(PICTURES) for row in report.cases for path in row.files[:1])
    head = ("case", "shape", f"spacing {'px' if flat else 'mm'}", "axes", "classes", "patient")
    rows = [head, *(_cells(row) for row in report.cases)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    for title, defects in (("error", report.errors), ("warning", report.warnings)):
        lines += [f"{title}: {defect.sentence()}" for defect in defects]
    masked = sum(row.masked for row in report.cases)
    lines.append(
        f"{len(report.cases)} cases, {masked} with a mask, "
        f"{len(report.errors)} errors, {len(report.warnings)} warnings"
    )
    return "\n".join(lines)


def _cells(row: CaseRow) -> tuple[str, ...]:
    shape = "x".join(str(size) for size in row.shape) or "?"
    channels = f" x{row.channels}ch" if row.channels > 1 else ""
    spacing = "x".join(f"{size:.4g}" for size in row.spacing) or "?"
    classes = ", ".join(row.classes) or "none"
    known = classes if row.masked else "(no mask)"
    return row.case, shape + channels, spacing, row.orientation or "?", known, row.patient or "-"
