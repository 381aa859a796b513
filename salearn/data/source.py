"""What every format reader shares: DataSource, Dataset, Defect, rules for ids and classes."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from salearn.cases import SLICE_MARK, Case, CaseId
from salearn.errors import ConfigError, DataError
from salearn.settings import settings

DATASET_JSON = "dataset.json"
ENDINGS = (".nii.gz", ".nii")  # longest first
LOSSY = (".jpg", ".jpeg")
PICTURES = (".png", *LOSSY)
Format = Literal["auto", "msd", "nnunet", "folder"]
ReferenceKind = Literal[
    "manual_mask", "box", "box_to_ellipse", "sam_from_box", "polygon", "propagated", "exact"
]
KINDS: tuple[ReferenceKind, ...] = get_args(ReferenceKind)


@settings
class DataSource:
    """Where the cases are and how to read them.

    Attributes:
        root: the data set's folder, or the datalist JSON itself.
        format: "auto" looks for dataset.json: with the key "training" it is an MSD/MONAI datalist,
            without it nnU-Net raw v2; no dataset.json means a plain folder.
        images: plain folder only: glob below root ("images/*.nii.gz", case = file name without
            ending) or a pattern ("t1/{case}_t1.nii.gz").
        masks: plain folder only: pattern of a case's mask, e.g. "masks/{case}.nii.gz".
        classes: class name -> value in the mask files; overrides what dataset.json says.
        patient: regular expression with one group that finds the patient in a case id. Without it
            `patients.csv` (columns case, patient) beside the data is used if it is there.
        include_test: read a datalist's "test" list (nnU-Net: imagesTs) as cases without a mask.
            Off by default: those are the hold-out of a public challenge, not data to train on.
        reference_kind: what the masks are: drawn, made from boxes, propagated along phases, or the
            exact truth of a phantom. It is recorded, and kinds
            are never mixed in one table (see salearn.data.references).
    """

    root: str | None = None
    format: Format = "auto"
    images: str | None = None
    masks: str | None = None
    classes: dict[str, int] | None = None
    patient: str | None = None
    include_test: bool = False
    reference_kind: ReferenceKind = "manual_mask"

    def __post_init__(self) -> None:
        for key in ("images", "masks"):
            if (getattr(self, key) or "").count("{case}") > 1:
                raise ConfigError(f"data.{key}: {{case}} may stand in a pattern only once")
        if self.masks is not None and "{case}" not in self.masks:
            raise ConfigError(
                f"data.masks: '{self.masks}' needs {{case}}, as in masks/{{case}}.nii"
            )
        if self.patient is not None and _groups(self.patient) != 1:
            raise ConfigError(
                f"data.patient: '{self.patient}' must be a regular expression with exactly one "
                "group, for example '(sub-\\d+)_.*'"
            )


def _groups(pattern: str) -> int:
    try:
        return re.compile(pattern).groups
    except re.error:
        return -1


@dataclass(frozen=True, kw_only=True)
class Defect:
    """One thing that is wrong with the data: where, what, and what to do."""

    case: str
    file: str
    problem: str
    remedy: str

    def sentence(self) -> str:
        """The defect as one sentence for an error message."""
        case = f"case {self.case}, " if self.case else ""
        return f"{case}file {self.file}: {self.problem}; {self.remedy}"


class DefectError(DataError):
    """A DataError that still knows its parts."""

    def __init__(self, defect: Defect) -> None:
        super().__init__(defect.sentence())
        self.defect = defect


def defect_error(case: str, file: Path, problem: str, remedy: str) -> DefectError:
    """A DataError that names case and file, says what is wrong and what to do."""
    return DefectError(Defect(case=case, file=str(file), problem=problem, remedy=remedy))


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """The cases of one data set. Mask files are named here, never opened.

    Attributes:
        classes: names of classes 1..K, in the order of their values.
        values: what each class is called in the mask files; same order.
        cases: sorted by id.
        masks: path of each case's mask; a case without one is not a key.
        ignore: value in the mask files that means "not annotated" (nnU-Net's ignore label).
        reference_kinds: what each mask is, see `DataSource.reference_kind`.
    """

    name: str
    root: Path
    classes: tuple[str, ...]
    values: tuple[int, ...]
    cases: tuple[Case, ...]
    masks: Mapping[CaseId, Path]
    format: str
    ignore: int | None = None
    reference_kinds: Mapping[CaseId, str] = field(default_factory=dict)

    @property
    def flat(self) -> bool:
        """Whether the cases are pictures (PNG, JPEG): no third axis, lengths in pixels."""
        return bool(self.cases) and all(is_picture(p) for case in self.cases for p in case.images)

    @property
    def values_allowed(self) -> tuple[int, ...]:
        """Every value other than 0 that a mask file may hold."""
        return self.values if self.ignore is None else (*self.values, self.ignore)


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A case as a reader found it, before ids are settled."""

    images: tuple[Path, ...]
    mask: Path | None = None
    patient: str | None = None
    id: str | None = None


@dataclass(kw_only=True)
class Listing:
    """What a reader found in a data set, and what is wrong with it."""

    name: str
    classes: dict[str, int]
    ignore: int | None = None
    entries: list[Entry] = field(default_factory=list)
    defects: list[Defect] = field(default_factory=list)

    def flaw(self, case: str, file: Path, problem: str, remedy: str) -> None:
        """Note a defect and go on."""
        self.defects.append(Defect(case=case, file=str(file), problem=problem, remedy=remedy))


def stem(path: Path) -> str:
    """File name without .nii.gz or .nii (or without its last ending, as .png)."""
    for ending in ENDINGS:
        if path.name.lower().endswith(ending):
            return path.name[: -len(ending)]
    return path.stem


def is_volume(path: Path) -> bool:
    """A visible NIfTI file name; archives made on a Mac carry hidden '._name' twins."""
    return not path.name.startswith(".") and path.name.lower().endswith(ENDINGS)


def is_picture(path: Path) -> bool:
    """A visible PNG or JPEG file name."""
    return not path.name.startswith(".") and path.name.lower().endswith(PICTURES)


def is_image(path: Path) -> bool:
    """A file that can be an image or a mask: NIfTI, PNG or JPEG."""
    return is_volume(path) or is_picture(path)


def bad_id(name: str) -> bool:
    """Whether a name cannot be a case id: it becomes part of file names and unit ids."""
    return not name or SLICE_MARK in name or "/" in name


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        DataError: no such file, not JSON, or not an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = error.strerror or str(error)
        raise defect_error("", path, f"cannot be read ({reason})", "put it there") from None
    except ValueError as error:
        raise defect_error("", path, f"is not JSON ({error})", "repair the file") from None
    if not isinstance(value, dict):
        raise defect_error("", path, "holds no JSON object", 'write {"labels": ..., ...}')
    return value


def read_classes(labels: Any, path: Path, listing: Listing) -> None:
    """Fill the listing's classes from `labels` of a dataset.json, MSD or nnU-Net way round."""
    if not isinstance(labels, Mapping) or not labels:
        remedy = 'add "labels": {"0": "background", "1": ...} or set data.classes'
        listing.flaw("", path, "the key 'labels' is missing or empty", remedy)
        return
    for key, value in labels.items():
        name, number = (value, key) if str(key).lstrip("-").isdigit() else (key, value)
        try:
            _add_class(listing, str(name), int(number))
        except (TypeError, ValueError):
            remedy = "give each class one whole number; regions of several numbers are not read"
            listing.flaw("", path, f"labels: {key!r}: {value!r} is not a class", remedy)


def _add_class(listing: Listing, name: str, number: int) -> None:
    if number == 0:
        return
    if name == "ignore":
        listing.ignore = number
        return
    if name in listing.classes or number in listing.classes.values():
        raise ValueError(name)
    listing.classes[name] = number
