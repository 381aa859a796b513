"""A worklist on disk: images, starting masks, regions, a table, a manifest and instructions."""

from __future__ import annotations

import csv
import io
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from nibabel import orientations

from loops.annotation.manifest import Manifest, Sheet
from loops.annotation.people import Asked
from loops.workbench import Workbench
from salearn.cases import CaseId, UnitId, parse_unit, unit_box
from salearn.data.cache import hash_file
from salearn.data.nifti import Geometry
from salearn.data.source import ENDINGS, stem
from salearn.data.volumes import Volume, write_labels
from salearn.evidence import Evidence
from salearn.store import array_hash, atomic, file_hash, write_text

TABLE = "worklist.csv"
COLUMNS = (
    "order", "unit", "case", "image", "mask", "region", "first_voxel", "last_voxel", "score",
    "minutes", "confirm",
)  # fmt: skip
Labels = UInt8[np.ndarray, "x y z"]


def write_worklist(
    bench: Workbench, asked: Asked, evidence: Evidence, out: Path, copy: bool = False
) -> Manifest:
    """Write the list; masks that lie there already, and the table, stay as people left them."""
    cases = list(dict.fromkeys(parse_unit(unit)[0] for unit in asked.units))
    sheets = tuple(_sheet(bench, asked, evidence, case, out, copy) for case in cases)
    data = bench.dataset
    manifest = Manifest(
        run=str(bench.out.resolve()),
        key=bench.config.key,
        round=asked.round,
        dataset=data.name,
        strategy=str(bench.config.strategy["name"]),
        unit=bench.config.unit,
        classes=dict(zip(data.classes, data.values, strict=True)),
        ignore=data.ignore,
        sheets=sheets,
    )
    manifest.write(out)
    if not (out / TABLE).exists():
        write_text(out / TABLE, _table(manifest))
    write_text(out / "README.txt", _instructions(manifest, out))
    return manifest


def _sheet(
    bench: Workbench, asked: Asked, evidence: Evidence, case: CaseId, out: Path, copy: bool
) -> Sheet:
    """Write the files of one case and say what they are."""
    volume, axis = bench.volume(case), bench.config.data.axis
    units = [unit for unit in asked.units if parse_unit(unit)[0] == case]
    start = _start(evidence, units, volume, axis)
    mask, region = Path("masks") / f"{case}.nii.gz", Path("regions") / f"{case}.nii.gz"
    original = out / "start" / mask.name
    write_labels(original, start, volume.source, bench.dataset.values)
    if not (out / mask).exists():
        with atomic(out / mask) as temporary:
            shutil.copyfile(original, temporary)
    whole = bench.config.unit == "volume"
    if not whole:
        write_labels(out / region, _region(units, start.shape, axis), volume.source, [1])
    geometry = volume.source
    return Sheet(
        case=case,
        images=_images(bench.cases[case].images, case, out, copy),
        mask=str(mask),
        region=None if whole else str(region),
        start_sha256=file_hash(original),
        start=array_hash(start),
        predicted=evidence.trained,
        shape=geometry.shape,
        spacing=geometry.spacing,
        affine=geometry.affine.tolist(),
        orientation=geometry.orientation,
        units={unit: _row(asked, unit, start.shape, geometry, axis) for unit in units},
    )


def _start(evidence: Evidence, units: Sequence[UnitId], volume: Volume, axis: int) -> Labels:
    """The prediction in the asked units, background elsewhere and where nothing is trained."""
    start = np.zeros(volume.image.shape[1:], np.uint8)
    for unit in units if evidence.trained else ():
        start[unit_box(unit, axis)] = evidence.probabilities(unit).argmax(axis=0)
    return start


def _region(units: Sequence[UnitId], shape: tuple[int, ...], axis: int) -> Labels:
    region = np.zeros(shape, np.uint8)
    for unit in units:
        region[unit_box(unit, axis)] = 1
    return region


def _row(
    asked: Asked, unit: UnitId, shape: tuple[int, ...], geometry: Geometry, axis: int
) -> dict[str, Any]:
    first, last = file_box(unit, shape, geometry, axis)
    return {
        "order": asked.units.index(unit),
        "score": asked.scores.get(unit),
        "first": first,
        "last": last,
    }


def file_box(
    unit: UnitId, shape: tuple[int, ...], geometry: Geometry, axis: int
) -> tuple[list[int], list[int]]:
    """First and last voxel of a unit along the axes of the image file, from 0, both included."""
    ends = [part.indices(side)[:2] for part, side in zip(unit_box(unit, axis), shape, strict=True)]
    back = orientations.ornt_transform(orientations.axcodes2ornt(("R", "A", "S")), geometry.to_ras)
    first, last = [0, 0, 0], [0, 0, 0]
    for k, (low, high) in enumerate(ends):
        target, flip = int(back[k, 0]), back[k, 1] < 0
        side = shape[k]
        first[target], last[target] = (side - high, side - 1 - low) if flip else (low, high - 1)
    return first, last


def _images(files: Sequence[Path], case: CaseId, out: Path, copy: bool) -> dict[str, str]:
    """Link or copy the image files; several channels are numbered as nnU-Net numbers them."""
    found = {}
    for channel, file in enumerate(files):
        ending = next((e for e in ENDINGS if file.name.lower().endswith(e)), file.suffix)
        number = f"_{channel:04d}" if len(files) > 1 else ""
        place = Path("images") / f"{case}{number}{ending}"
        if not (out / place).exists():
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            (out / place).unlink(missing_ok=True)  # a link to a file that is gone
            if copy:
                with atomic(out / place) as temporary:
                    shutil.copyfile(file, temporary)
            else:
                os.symlink(file.resolve(), out / place)
        found[str(place)] = hash_file(file)
    return found


def _table(manifest: Manifest) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    rows = {unit: (sheet, row) for sheet in manifest.sheets for unit, row in sheet.units.items()}
    for unit in manifest.units():
        sheet, row = rows[unit]
        writer.writerow({
            "order": row["order"] + 1, "unit": unit, "case": sheet.case,
            "image": " ".join(sheet.images), "mask": sheet.mask, "region": sheet.region or "",
            "first_voxel": " ".join(map(str, row["first"])),
            "last_voxel": " ".join(map(str, row["last"])),
            "score": "" if row["score"] is None else row["score"], "minutes": "", "confirm": "",
        })  # fmt: skip
    return text.getvalue()


def _instructions(manifest: Manifest, out: Path) -> str:
    classes = "\n".join(f"  {value:>3}  {name}" for name, value in manifest.classes.items())
    parts = {
        "volume": "Each mask is wanted as a whole.",
        "slice": "Of each case only some slices are wanted: the file in regions/ is 1 there.",
        "patch": "Of each case only some boxes are wanted: the file in regions/ is 1 there.",
    }[manifest.unit]
    began = any(sheet.predicted for sheet in manifest.sheets)
    start = "the prediction of the model so far: correct it" if began else "empty: draw it"
    return f"""Round {manifest.round} of {manifest.dataset}: {len(manifest.units())} to annotate

1. Open an image of images/ and the mask of the same name in masks/ with any tool that edits
   NIfTI masks (3D Slicer, ITK-SNAP, MITK, ...). {parts}
   The mask is {start}.
2. Save it under the same name in masks/, on the grid of the image. Values of the classes:
    0  background
{classes}
   {TABLE} lists what is wanted, most wanted first; voxels count from 0 along the axes of the
   file, the last one is included. You may note minutes there.
3. Right as it was, or truly empty? Write yes into the column "confirm" of {TABLE}.
4. When done, or in between:  salearn annotate {out}
   What is refused is named with what to do; the rest is taken. Nothing is counted twice.

start/ keeps the starting masks; do not edit it, nor manifest.json.
"""


def case_of(path: Path) -> str:
    """Case id of a mask file in a worklist."""
    return stem(path)
