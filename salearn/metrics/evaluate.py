"""One row of metrics for each class of a case, and the means over cases that a table prints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int, UInt8

from salearn.cases import IGNORE, CaseId
from salearn.errors import DataError
from salearn.metrics.overlap import Counts, class_counts, confusion, micro
from salearn.metrics.surface import (
    DISTANCES,
    OPTIONAL,
    Spacing,
    SurfaceSettings,
    box_of,
    surface_scores,
)

OVERLAPS = ("dice", "iou", "sensitivity", "specificity", "precision")
METRICS = (*OVERLAPS, *DISTANCES, "volume_error")
STATUSES = ("missed", "false", "absent")
MEAN = "mean"  # the row of the mean over classes

Row = dict[str, Any]


def evaluate_case(
    prediction: UInt8[np.ndarray, "_x _y _z"],
    reference: UInt8[np.ndarray, "_x _y _z"],
    spacing: Spacing,
    classes: Sequence[str],
    case: CaseId,
    how: SurfaceSettings | None = None,
) -> list[Row]:
    """All metrics of a case, one row for each class, in the order of `classes`.

    Voxels that are 255 in the reference (not annotated) count nowhere; for distances they are
    background in both masks. Everything is computed inside the box that holds both masks.

    Args:
        prediction: labels 0..K, axes x y z.
        reference: labels 0..K and 255, on the same grid.
        spacing: mm per voxel along x, y, z.
        classes: names of the labels 1..K.

    Returns:
        Rows with the keys case, class, METRICS and status ("ok", "absent" = both empty, "missed" =
        only the prediction empty, "false" = only the reference empty), and those of OPTIONAL that
        `how` asks for, after the other distances. Undefined values are NaN.

    Raises:
        DataError: the grids differ, a label is not one of 0..K, or a spacing is not positive.
    """
    return [row for row, _ in score_case(prediction, reference, spacing, classes, case, how)]


def score_case(
    prediction: UInt8[np.ndarray, "_x _y _z"],
    reference: UInt8[np.ndarray, "_x _y _z"],
    spacing: Spacing,
    classes: Sequence[str],
    case: CaseId,
    how: SurfaceSettings | None = None,
) -> list[tuple[Row, Counts]]:
    """The rows of `evaluate_case`, each with the voxel counts behind it, for micro averages.

    Raises:
        DataError: as `evaluate_case`.
    """
    _check_grid(prediction, reference, spacing, case)
    box = box_of(prediction | reference)
    inner, truth = prediction[box], reference[box]
    table = confusion(inner, truth)
    table[0, 0] += prediction.size - inner.size
    _check_labels(table, len(classes), case)
    inner = np.where(truth == IGNORE, np.uint8(0), inner) if table[IGNORE].any() else inner
    lengths = np.multiply(prediction.shape, spacing), prediction.shape
    diagonal, voxels = (float(np.linalg.norm(length)) for length in lengths)
    rows = []
    for label, name in enumerate(classes, start=1):
        masks = inner == label, truth == label
        far = surface_scores(*masks, spacing, diagonal, how or SurfaceSettings(), voxels)
        counts = class_counts(table, label)
        rows.append((_row(case, name, counts, far), counts))
    return rows


def _row(case: CaseId, name: str, counts: Counts, far: Mapping[str, float]) -> Row:
    near = {metric: getattr(counts, metric) for metric in OVERLAPS}
    end = {"volume_error": counts.volume_error, "status": counts.status}
    return {"case": str(case), "class": name, **near, **far, **end}


def _check_grid(
    prediction: np.ndarray, reference: np.ndarray, spacing: Spacing, case: CaseId
) -> None:
    if prediction.shape != reference.shape:
        raise DataError(
            f"case {case}: the prediction has shape {prediction.shape}, the reference "
            f"{reference.shape}; bring both onto the grid of the image first"
        )
    if len(spacing) != prediction.ndim or not all(np.isfinite(s) and s > 0 for s in spacing):
        raise DataError(
            f"case {case}: spacing {tuple(spacing)} is not {prediction.ndim} positive lengths in "
            "mm; correct the header of the image"
        )


def _check_labels(table: Int[np.ndarray, "256 256"], num_classes: int, case: CaseId) -> None:
    shown = {
        "prediction": np.flatnonzero(table.any(axis=0)),
        "reference": np.flatnonzero(table[:IGNORE].any(axis=1)),
    }
    for name, labels in shown.items():
        strange = labels[labels > num_classes].tolist()
        if strange:
            raise DataError(
                f"case {case}: the {name} has labels {strange[:5]}, but only 0..{num_classes} are "
                "classes; map its values to the declared classes"
            )


def summarise(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Mean over cases for each class, then the mean over classes (class "mean").

    Every row counts what went into it: n_total cases (case-class pairs in the "mean" row), n_used =
    n_total - n_absent, and n_missed, n_false, n_absent by status. Undefined values are left out:
    sensitivity and volume error miss the n_false cases, precision the n_missed ones. The mean over
    classes leaves out classes without any value.
    """
    by_class: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_class.setdefault(row["class"], []).append(row)
    means = [_class_mean(name, members) for name, members in by_class.items()]
    return [*means, _mean_of_classes(means)] if means else []


def with_micro(summary: Sequence[Row], scored: Iterable[tuple[Row, Counts]]) -> list[Row]:
    """Rows of `summarise` with the key "micro": `overlap.micro` of the counts behind each row.

    Dice of a summary is macro (the mean over cases), micro["dice"] is F1 of the pooled voxels. In
    the row "mean" the voxels of all classes are pooled too.

    Args:
        scored: what `score_case` gave, over all cases.
    """
    counts: dict[str, list[Counts]] = {MEAN: []}
    for row, found in scored:
        counts.setdefault(row["class"], []).append(found)
        counts[MEAN].append(found)
    return [row | {"micro": micro(counts[row["class"]])} for row in summary]


def _class_mean(name: str, rows: Sequence[Mapping[str, Any]]) -> Row:
    statuses = [row["status"] for row in rows]
    counts = {f"n_{status}": statuses.count(status) for status in STATUSES}
    used = len(rows) - counts["n_absent"]
    return {"class": name, **_means(rows), "n_total": len(rows), "n_used": used, **counts}


def _mean_of_classes(means: Sequence[Row]) -> Row:
    keys = ["n_total", "n_used", *(f"n_{status}" for status in STATUSES)]
    return {"class": MEAN, **_means(means), **{key: sum(row[key] for row in means) for key in keys}}


def _means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    means = {}
    for metric in (*METRICS, *(name for name in OPTIONAL if all(name in row for row in rows))):
        values = np.array([row[metric] for row in rows], dtype=float)
        defined = values[~np.isnan(values)]
        means[metric] = float(defined.mean()) if len(defined) else float("nan")
    return means
