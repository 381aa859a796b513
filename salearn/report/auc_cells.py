"""The AUCs that runs stored, always with their level."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from salearn.report.blocks import Block, Table, Text
from salearn.report.runs import Run

LEVELS = {
    "pixel_micro": "all pixels pooled",
    "pixel_macro": "pixels, mean over images",
    "image": "images with against without",
}
Place = tuple[str, ...]


def auc_blocks(runs: Sequence[Run], name: str) -> list[Block]:
    """AUC and average precision of test cases at the last budget; means over seeds."""
    found: dict[Place, list[dict[str, Any]]] = {}
    for run in runs:
        for row in (run.rounds[-1].get("auc") or ()) if run.rounds else ():
            if row["split"] == "test":
                names = (str(run.factors["strategy"]), str(run.factors["learner"]))
                labeled = str(run.rounds[-1]["num_labeled"])
                place = (*names, labeled, row["stage"], row["class"], row["level"])
                found.setdefault(place, []).append(row)
    if not found:
        return [Text(paragraphs=("No AUC was asked for (auc.levels in the config).",))]
    return [
        Table(
            name=name,
            caption="Area under the ROC curve and average precision, test cases, last budget",
            headers=["strategy", "learner", "annotated", "stage", "class", "level", "AUC",
                     "average precision", "greatest error", "images used / all"],
            rows=[[*place[:5], LEVELS[place[5]], *_numbers(found[place])] for place in found],
            fixed=6,
            note="The levels are different questions and cannot be compared with one another. "
            "Pixels are counted in bins; the greatest error is what that can change. Pixels are "
            "not independent: test on one number for each image or patient.",
        )
    ]  # fmt: skip


def _numbers(rows: Sequence[dict[str, Any]]) -> list[str]:
    cells = [_mean(rows, key) for key in ("auc", "average_precision")]
    why = next((row["why"] for row in rows if row["why"]), None)
    if why and cells[0] == "undefined":
        cells[0] = f"undefined: {why}"
    used, total = (sum(row[key] for row in rows) / len(rows) for key in ("n_used", "n_total"))
    return [*cells, _mean(rows, "bound", ".1e"), f"{used:.4g} / {total:.4g}"]


def _mean(rows: Sequence[dict[str, Any]], key: str, form: str = ".4f") -> str:
    values = [float(row[key]) for row in rows if row[key] is not None]
    values = [value for value in values if math.isfinite(value)]
    return format(sum(values) / len(values), form) if values else "undefined"
