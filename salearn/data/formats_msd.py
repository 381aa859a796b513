"""MSD / MONAI datalist: a dataset.json that lists {image, label} entries, paths relative to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from salearn.data.source import (
    ENDINGS,
    PICTURES,
    DataSource,
    Entry,
    Listing,
    read_classes,
    read_json,
    stem,
)
from salearn.settings import nearest

ENTRY_KEYS = ("image", "label", "patient", "id", "fold")
LISTS = ("training", "validation", "unlabeled", "test")


def list_msd(source: DataSource, path: Path) -> Listing:
    """The cases of a datalist.

    "training" and "validation" are read alike, because salearn makes its own split (name the ids
    in the split settings to keep a given one); "fold" is allowed and ignored. An entry without
    "label", an entry of "unlabeled" and every file in imagesUn is a case without a mask. "test"
    is read only with `include_test`, and without masks.

    Raises:
        DataError: the file is missing or is not a JSON object.
    """
    content = read_json(path)
    listing = Listing(name=str(content.get("name") or path.parent.name), classes={})
    if source.classes is None:
        read_classes(content.get("labels"), path, listing)
    _check_lists(content, path, listing)
    for part in LISTS:
        if part == "test" and not source.include_test:
            continue
        items = content.get(part, [])
        for index, item in enumerate(items if isinstance(items, list) else []):
            entry = _entry(item, part, index, path, listing)
            if entry is not None:
                listing.entries.append(entry)
    return listing


def _check_lists(content: Mapping[str, Any], path: Path, listing: Listing) -> None:
    """Free text may have any key (MSD itself writes "relase"); a list of cases may not."""
    for key, value in content.items():
        if key in LISTS and not isinstance(value, list):
            listing.flaw("", path, f"'{key}' is not a list", "write a list of entries")
        elif key not in LISTS and _looks_like_cases(value):
            listing.flaw("", path, f"unknown list of cases '{key}'", nearest(key, LISTS))
    if "training" not in content and "unlabeled" not in content:
        remedy = 'add "training": [{"image": ..., "label": ...}]'
        listing.flaw("", path, "the key 'training' is missing", remedy)


def _looks_like_cases(value: Any) -> bool:
    items = value if isinstance(value, list) else []
    return any(
        "image" in item
        if isinstance(item, Mapping)
        else str(item).lower().endswith((*ENDINGS, *PICTURES))
        for item in items
    )


def _entry(item: Any, part: str, index: int, path: Path, listing: Listing) -> Entry | None:
    """One entry, or None and a defect."""
    if isinstance(item, str):
        return Entry(images=(path.parent / item,))
    where = f"{part}[{index}]"
    if not isinstance(item, Mapping):
        listing.flaw("", path, f"{where} is neither a path nor an object", "write {'image': ...}")
        return None
    case = _case_name(item)
    for key in item:
        if key not in ENTRY_KEYS:
            listing.flaw(case, path, f"{where}: unknown key '{key}'", nearest(key, ENTRY_KEYS))
    images = item.get("image")
    images = [images] if isinstance(images, str) else images
    if not (isinstance(images, list) and images and all(isinstance(i, str) for i in images)):
        problem = f"{where}: the mask {item.get('label')} has no image"
        listing.flaw(case, path, problem, "give 'image': a path, or a list with one a channel")
        return None
    return Entry(
        images=tuple(path.parent / image for image in images),
        mask=_mask(item, part, where, path, listing),
        patient=None if item.get("patient") is None else str(item["patient"]),
        id=None if item.get("id") is None else str(item["id"]),
    )


def _mask(item: Mapping[str, Any], part: str, where: str, path: Path, out: Listing) -> Path | None:
    label = item.get("label")
    if label is None or part == "test":
        return None
    if not isinstance(label, str) or part == "unlabeled":
        remedy = "give one path" if part != "unlabeled" else "move the entry to 'training'"
        out.flaw(_case_name(item), path, f"{where}: 'label' is {label!r}", remedy)
        return None
    return path.parent / label


def _case_name(item: Mapping[str, Any]) -> str:
    first = item.get("image")
    first = first[0] if isinstance(first, list) and first else first
    return str(item.get("id") or (stem(Path(first)) if isinstance(first, str) else ""))
