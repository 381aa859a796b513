"""Phases as cases of their own: 4-D files are split once, images first, masks when opened."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from salearn.cases import Case, CaseId
from salearn.data.cache import hash_file
from salearn.data.nifti import decode, encode
from salearn.data.phases import PhaseSet, Scan
from salearn.data.source import Dataset
from salearn.store import Store, content_key

KIND = "phases"
CODE_VERSION = 1


def as_dataset(found: PhaseSet, store: Store) -> Dataset:
    """A data set whose cases are single phases; `patient` is the one who was scanned.

    Splits, selection and oracle then treat a phase like any other case. 4-D images are split into
    3-D files in the store; a 4-D mask is not opened before somebody asks for one of its phases.

    Raises:
        DataError: a 4-D file cannot be read.
    """
    cases, masks = [], {}
    for scan in found.scans:
        images = _images(found, scan, store)
        for k, image in enumerate(images):
            case = found.case_id(scan.patient, k)
            cases.append(Case(id=case, images=(image,), patient=scan.patient))
            if k in scan.masks:
                masks[case] = (scan.masks[k], k if found.whole_masks else None)
    return Dataset(
        name=found.name,
        root=found.root,
        classes=found.classes,
        values=found.values,
        cases=tuple(sorted(cases, key=lambda case: case.id)),
        masks=_Masks(masks, store),
        format=KIND,
    )


class _Masks(Mapping[CaseId, Path]):
    """Mask files of phases; those of a 4-D mask are cut out when they are asked for."""

    def __init__(self, places: dict[CaseId, tuple[Path, int | None]], store: Store) -> None:
        self._places = dict(sorted(places.items()))
        self._store = store

    def __getitem__(self, case: CaseId) -> Path:
        path, index = self._places[case]
        return path if index is None else split_file(path, case, self._store)[index]

    def __iter__(self) -> Iterator[CaseId]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, case: object) -> bool:
        return case in self._places


def _images(found: PhaseSet, scan: Scan, store: Store) -> tuple[Path, ...]:
    return split_file(scan.images[0], scan.patient, store) if found.whole else scan.images


def split_file(path: Path, case: str, store: Store) -> tuple[Path, ...]:
    """The volumes of a 4-D file as 3-D files in the store, in order, with its affine."""
    key = content_key(KIND, CODE_VERSION, hash_file(path))

    def make(work: Path) -> None:
        decoded = decode(path, case)
        for k in range(decoded.array.shape[3]):
            volume = np.ascontiguousarray(decoded.array[..., k])
            encode(work / f"{k:03d}.nii", volume, decoded.geometry)

    folder = store.get(KIND, key, make)
    return tuple(sorted(folder.glob("*.nii")))
