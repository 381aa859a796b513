"""Data set -> cases and paths of masks. No mask file is opened here, only looked for."""

from __future__ import annotations

import csv
import re
from collections import Counter
from pathlib import Path

from salearn.cases import Case, CaseId
from salearn.data.formats_folder import list_folder
from salearn.data.formats_msd import list_msd
from salearn.data.formats_nnunet import list_nnunet
from salearn.data.references import read_kinds
from salearn.data.source import (
    DATASET_JSON,
    Dataset,
    DataSource,
    Defect,
    Entry,
    Listing,
    bad_id,
    defect_error,
    is_image,
    read_json,
    stem,
)
from salearn.errors import ConfigError, DataError

__all__ = ["DataSource", "Dataset", "read_dataset", "survey"]

MANY = 5


def read_dataset(source: DataSource) -> Dataset:
    """The cases of a data set, sorted by id, each with the path of its mask if it has one.

    Case ids are file names without ending; where two files have one name, the folders below the
    root are put in front.

    Raises:
        ConfigError: no root is set.
        DataError: anything is missing or wrong; the message names up to five defects with file
            and remedy, `salearn data check` shows them all.
    """
    dataset, defects = survey(source)
    if defects:
        shown = " | ".join(defect.sentence() for defect in defects[:MANY])
        more = f" | and {len(defects) - MANY} more" if len(defects) > MANY else ""
        raise DataError(f"{shown}{more}")
    return dataset


def survey(source: DataSource) -> tuple[Dataset, list[Defect]]:
    """What can be read of a data set, and every defect of its lists and paths.

    Raises:
        ConfigError: no root is set.
        DataError: there is nothing to list (no folder, no dataset.json, no case).
    """
    path, kind = _locate(source)
    readers = {"msd": list_msd, "nnunet": list_nnunet, "folder": list_folder}
    listing = readers[kind](source, path)
    root = path if path.is_dir() else path.parent
    if kind == "msd":
        _add_images_un(root, listing)
    if not listing.entries and not listing.defects:
        raise defect_error("", path, "there is no case in it", "add images")
    classes = _classes(source, path, listing)
    cases, masks = _cases(listing, root)
    dataset = Dataset(
        name=listing.name,
        root=root,
        classes=tuple(classes),
        values=tuple(classes.values()),
        cases=_with_patients(cases, source, root, listing),
        masks=masks,
        format=kind,
        ignore=listing.ignore,
        reference_kinds=read_kinds(root, masks, source.reference_kind, listing),
    )
    return dataset, listing.defects


def _locate(source: DataSource) -> tuple[Path, str]:
    """The dataset.json (or the plain folder) and the format."""
    if source.root is None:
        raise ConfigError("data.root: not set; give the folder of the data set, data.root=PATH")
    root = Path(source.root).expanduser()
    if not root.exists():
        raise defect_error("", root, "there is no such folder", "set data.root to the data set")
    path = root if root.is_file() else root / DATASET_JSON
    if source.format == "folder" or (source.format == "auto" and not path.exists()):
        return (root if root.is_dir() else root.parent), "folder"
    if not path.exists():
        remedy = "add it, or set data.format to 'folder' and data.images to a pattern"
        raise defect_error(
            "", path, f"there is none, and format '{source.format}' needs it", remedy
        )
    return path, _detect(path) if source.format == "auto" else source.format


def _detect(path: Path) -> str:
    keys = read_json(path).keys()
    if "training" in keys or "unlabeled" in keys:
        return "msd"
    if keys & {"channel_names", "file_ending"}:
        return "nnunet"
    problem = "has neither 'training' (MSD) nor 'channel_names' (nnU-Net)"
    raise defect_error("", path, problem, "add the key, or set data.format")


def _add_images_un(root: Path, listing: Listing) -> None:
    """imagesUn may hold files that the datalist does not name."""
    listed = {image.resolve() for entry in listing.entries for image in entry.images}
    for path in sorted((root / "imagesUn").glob("*")):
        if is_image(path) and path.resolve() not in listed:
            listing.entries.append(Entry(images=(path,)))


def _classes(source: DataSource, path: Path, listing: Listing) -> dict[str, int]:
    """Class name -> value, by rising value."""
    classes = dict(listing.classes)
    if source.classes is not None:
        classes = {name: value for name, value in source.classes.items() if value != 0}
        if len(set(classes.values())) != len(classes) or not classes:
            raise ConfigError(f"data.classes: {source.classes} must give each class its own value")
    elif not classes and not listing.defects:
        remedy = "set data.classes, for example data.classes='{liver: 1}'"
        listing.flaw("", path, "it is not said which classes the masks have", remedy)
    return dict(sorted(classes.items(), key=lambda item: item[1]))


def _cases(listing: Listing, root: Path) -> tuple[list[Case], dict[CaseId, Path]]:
    """Cases with settled ids; what has no image file, or an id twice, is left out as a defect."""
    names = Counter(entry.id or stem(entry.images[0]) for entry in listing.entries)
    cases: dict[CaseId, Case] = {}
    masks: dict[CaseId, Path] = {}
    for entry in listing.entries:
        case = CaseId(_settled_id(entry, names, root))
        if case in cases or bad_id(case):
            problem = "is listed twice" if case in cases else "has an id with '@', '/' or nothing"
            listing.flaw(case, entry.images[0], f"the case {problem}", "rename or remove one")
            continue
        if not _all_there(case, entry, listing):
            continue
        cases[case] = Case(id=case, images=entry.images, patient=entry.patient)
        if entry.mask is not None and entry.mask.exists():
            masks[case] = entry.mask
    return [cases[case] for case in sorted(cases)], dict(sorted(masks.items()))


def _settled_id(entry: Entry, names: Counter[str], root: Path) -> str:
    name = entry.id or stem(entry.images[0])
    first = entry.images[0]
    if entry.id is None and names[name] > 1 and first.is_relative_to(root):
        folders = first.relative_to(root).parent.parts
        return "_".join([*folders, name])
    return name


def _all_there(case: str, entry: Entry, listing: Listing) -> bool:
    """Whether the image files exist; a missing mask is a defect too, but leaves the case."""
    images = [path for path in entry.images if not path.exists()]
    for path in images:
        listing.flaw(case, path, "the image is missing", "add it or take the case off the list")
    if entry.mask is not None and not entry.mask.exists():
        remedy = "add it, or list the case without a mask"
        listing.flaw(case, entry.mask, "the mask is missing", remedy)
    return not images


def _with_patients(
    cases: list[Case], source: DataSource, root: Path, listing: Listing
) -> tuple[Case, ...]:
    """Fill in patients from the regular expression or patients.csv; every case must get one."""
    table = root / "patients.csv"
    if source.patient is None and not table.is_file():
        return tuple(cases)
    known = _patients(table, listing) if source.patient is None else {}
    filled = []
    for case in cases:
        patient = case.patient or known.get(case.id)
        if patient is None and source.patient is not None:
            match = re.search(source.patient, case.id)
            patient = match[1] if match else None
        if patient is None:
            where = table if source.patient is None else root
            remedy = "add it to patients.csv, or mend data.patient, so that no patient is split"
            listing.flaw(case.id, where, "no patient is known for this case", remedy)
        filled.append(Case(id=case.id, images=case.images, patient=patient))
    return tuple(filled)


def _patients(table: Path, listing: Listing) -> dict[str, str]:
    with table.open(newline="", encoding="utf-8-sig") as handle:
        rows = list(csv.DictReader(handle))
    if rows and not {"case", "patient"} <= rows[0].keys():
        listing.flaw("", table, "needs the columns 'case' and 'patient'", "name them in line 1")
        return {}
    return {row["case"]: row["patient"] for row in rows if row["patient"]}
