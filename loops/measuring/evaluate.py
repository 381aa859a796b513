"""Score label files of any tool against reference masks, for `salearn evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from salearn.cases import CaseId
from salearn.data.nifti import decode
from salearn.data.references import TABLE, one_kind, read_kinds
from salearn.data.source import KINDS, is_image, is_picture, stem
from salearn.data.volumes import read_mask
from salearn.errors import DataError
from salearn.metrics.evaluate import Row, score_case, summarise, with_micro
from salearn.metrics.overlap import Counts
from salearn.metrics.surface import OPTIONAL, SurfaceSettings

OVERLAPS = ("class", "dice", "f1_micro", "iou")
DISTANCES = ("hd95_mm", "assd_mm", "nsd")
COUNTS = ("n_used", "n_missed", "n_false")


def evaluate_files(
    prediction: Path, reference: Path, how: SurfaceSettings | None = None
) -> dict[str, Any]:
    """{"cases": rows per case and class, "summary": means per class} of two files or folders.

    "length_unit" says what distances are counted in: "mm", or "px" between pictures.

    A row of the summary has besides the means over cases (macro) the key "micro": dice (= F1),
    sensitivity and precision of the voxels of all cases pooled.

    Classes are the label values that occur in the references, background left out.

    Raises:
        DataError: nothing to compare, a prediction is missing, grids differ, or references.csv
            beside the references says that they are of several kinds.
    """
    pairs = _pairs(prediction, reference)
    folder = reference if reference.is_dir() else reference.parent
    beside = folder if (folder / TABLE).is_file() else folder.parent
    one_kind(read_kinds(beside, pairs, KINDS[0]), list(pairs), str(reference))
    values = _classes([file for _, file in pairs.values()])
    how = how or SurfaceSettings()
    scored: list[tuple[Row, Counts]] = []
    for case, (predicted, drawn) in pairs.items():
        scored += _score(case, predicted, drawn, values, how)
    rows = [row for row, _ in scored]
    flat = all(is_picture(file) for _, file in pairs.values())
    summary = with_micro(summarise(rows), scored)
    return {"cases": rows, "summary": summary, "length_unit": "px" if flat else "mm"}


def render(result: dict[str, Any]) -> str:
    """The summary as a table for people."""
    rows = [row | {"f1_micro": row["micro"]["dice"]} for row in result["summary"]]
    asked = [name for name in OPTIONAL if rows and name in rows[0]]
    names = (*OVERLAPS, *DISTANCES, *asked, *COUNTS)
    lines = [names, *([_cell(row[name]) for name in names] for row in rows)]
    widths = [max(10, len(name)) for name in names]
    table = "\n".join(
        "  ".join(f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True))
        for line in lines
    )
    unit = result.get("length_unit", "mm")
    return table if unit == "mm" else f"{table}\ndistances are in {unit}: no spacing is known"


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _pairs(prediction: Path, reference: Path) -> dict[CaseId, tuple[Path, Path]]:
    for path in (prediction, reference):
        if not path.exists():
            raise DataError(f"{path}: no such file or folder")
    if reference.is_file():
        return {CaseId(stem(reference)): (prediction, reference)}
    drawn = {stem(file): file for file in sorted(reference.iterdir()) if is_image(file)}
    predicted = {stem(file): file for file in sorted(prediction.iterdir()) if is_image(file)}
    missing = sorted(set(drawn) - set(predicted))
    if missing or not drawn:
        raise DataError(
            f"{prediction}: no prediction for {missing[:5] or 'any case'} of {reference} "
            f"({len(drawn)} references); name predictions like the references"
        )
    return {CaseId(case): (predicted[case], drawn[case]) for case in drawn}


def _classes(files: list[Path]) -> tuple[int, ...]:
    found: set[int] = set()
    for file in files:
        found |= {int(value) for value in np.unique(decode(file, stem(file)).array)}
    return tuple(sorted(found - {0}))


def _score(
    case: CaseId, predicted: Path, drawn: Path, values: tuple[int, ...], how: SurfaceSettings
) -> list[tuple[Row, Counts]]:
    geometry = decode(drawn, case).geometry
    reference = read_mask(drawn, case, values, geometry)
    labels = read_mask(predicted, case, values, geometry)
    names = [f"class_{value}" for value in values]
    return score_case(labels, reference, geometry.ras_spacing, names, case, how)
