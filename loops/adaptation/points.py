"""Dice at every threshold, case by case, and what the threshold of the validation set costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from salearn.cases import IGNORE
from salearn.metrics.operating import GRID, dice_curve

Row = dict[str, Any]
HALF = int(np.searchsorted(GRID, 0.5))
DIGITS = 5


@dataclass
class DiceCurves:
    """Dice and predicted / reference area of each case and class at the thresholds of GRID.

    Attributes:
        classes: names of the labels 1..K.
        rows: one for each case and class with a reference; the others have no Dice here.
    """

    classes: tuple[str, ...]
    rows: list[Row] = field(default_factory=list)

    def update(
        self,
        case: str,
        probabilities: Float[np.ndarray, "class x y z"],
        reference: UInt8[np.ndarray, "x y z"],
    ) -> None:
        """Add a case; pixels that nobody annotated (255) count nowhere."""
        known = reference != IGNORE
        for index, name in enumerate(self.classes):
            truth = reference[known] == index + 1
            if truth.any():
                dice, area = dice_curve([(probabilities[index + 1][known], truth)])
                curves = {"dice": _plain(dice[0]), "area": _plain(area[0])}
                self.rows.append({"case": case, "class": name} | curves)


def _plain(values: np.ndarray) -> list[float]:
    return [round(float(value), DIGITS) for value in values]


def point_rows(curves: Mapping[tuple[str, str], Sequence[Row]]) -> list[Row]:
    """Rows {split, stage, class, dice_half, threshold_val, dice_val, threshold_best, dice_best,
    area_bias, n_used} of the test sets, the threshold taken from the stage's validation cases.

    Without validation cases dice_val, threshold_val and area_bias are None.

    Args:
        curves: rows of `DiceCurves` by split and stage.
    """
    found = []
    for (split, stage), rows in curves.items():
        if split == "validation":
            continue
        source = curves.get(("validation", stage), ())
        for name in dict.fromkeys(row["class"] for row in rows):
            mine, theirs = ([r for r in side if r["class"] == name] for side in (rows, source))
            found.append({"split": split, "stage": stage, "class": name} | _points(mine, theirs))
    return found


def _points(rows: Sequence[Row], source: Sequence[Row]) -> Row:
    """The decomposition of one class on one set; ties take the lowest threshold."""
    dice, area = (np.array([row[key] for row in rows]).mean(axis=0) for key in ("dice", "area"))
    best = int(dice.argmax())
    found = {"dice_half": dice[HALF], "threshold_best": GRID[best], "dice_best": dice[best]}
    at = None
    if source:
        at = int(np.array([row["dice"] for row in source]).mean(axis=0).argmax())
    found |= {
        "threshold_val": None if at is None else GRID[at],
        "dice_val": None if at is None else dice[at],
        "area_bias": None if at is None else area[at] - 1,
    }
    shown = {k: None if v is None else round(float(v), DIGITS) for k, v in found.items()}
    return shown | {"n_used": len(rows)}
