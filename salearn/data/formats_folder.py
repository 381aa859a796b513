"""A plain folder of image/mask pairs, matched by pattern."""

from __future__ import annotations

import re
from pathlib import Path

from salearn.data.source import DataSource, Entry, Listing, defect_error, is_image, stem

DEFAULT_IMAGES = ("images/*.nii*", "*.nii*", "images/*", "*")  # the last two: pictures
DEFAULT_MASKS = (
    "masks/{case}.nii.gz", "labels/{case}.nii.gz", "masks/{case}.nii",
    "masks/{case}.png", "labels/{case}.png",
)  # fmt: skip


def list_folder(source: DataSource, root: Path) -> Listing:
    """The cases of a plain folder; without patterns images/ and masks/ (or labels/) are tried.

    Raises:
        DataError: no file fits the image pattern.
    """
    listing = Listing(name=root.name, classes={})
    images = source.images or _first(root, DEFAULT_IMAGES) or DEFAULT_IMAGES[0]
    masks = source.masks or _first(root, DEFAULT_MASKS)
    found = _find(root, images, listing)
    if not found:
        remedy = (
            "set data.images (and data.masks) to patterns such as images/*.nii.gz and "
            "masks/{case}.nii.gz, or put a dataset.json there"
        )
        problem = f"no dataset.json, and no NIfTI, PNG or JPEG file fits '{images}'"
        raise defect_error("", root, problem, remedy)
    mask_of = _find(root, masks, listing) if masks else {}
    for case, path in found.items():
        listing.entries.append(Entry(images=(path,), mask=mask_of.pop(case, None), id=case))
    for case, path in mask_of.items():
        if path not in found.values():
            listing.flaw(case, path, "mask without image", "add the image or take the mask away")
    return listing


def _first(root: Path, patterns: tuple[str, ...]) -> str | None:
    """The first pattern that any file fits."""
    return next((pattern for pattern in patterns if matches(root, pattern)), None)


def _find(root: Path, pattern: str, listing: Listing) -> dict[str, Path]:
    """Case -> file; two files for one case are a defect."""
    found: dict[str, Path] = {}
    for case, path in matches(root, pattern):
        if case in found:
            problem = f"'{pattern}' gives the case a second file beside {found[case]}"
            listing.flaw(case, path, problem, "make the pattern narrower, with {case} in it")
        found.setdefault(case, path)
    return found


def matches(root: Path, pattern: str) -> list[tuple[str, Path]]:
    """Case and file for a glob (case = file name), or for a pattern with {case}."""
    before, mark, after = pattern.partition("{case}")
    paths = sorted(path for path in root.glob(pattern.replace("{case}", "*")) if is_image(path))
    if not mark:
        return [(stem(path), path) for path in paths]
    shape = re.compile(_regex(before) + "([^/]+)" + _regex(after))
    matches = [(shape.fullmatch(path.relative_to(root).as_posix()), path) for path in paths]
    return [(match[1], path) for match, path in matches if match]


def _regex(glob: str) -> str:
    """A glob piece as a regular expression; * and ? stay within one folder, as in Path.glob."""
    pieces = re.escape(glob).replace(r"\*\*/", "\0")
    return pieces.replace(r"\*", "[^/]*").replace(r"\?", "[^/]").replace("\0", "(?:.*/)?")
