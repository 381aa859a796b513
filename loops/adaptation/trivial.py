"""Predictors that look at no image: what any arm must beat before its Dice means something."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, UInt8

from loops.measuring.measure import Part
from loops.workbench import Workbench
from salearn.cases import IGNORE

Row = dict[str, Any]
UNIT_BALL = {1: 2.0, 2: math.pi, 3: 4 / 3 * math.pi}  # volume of radius 1 by dimension


def trivial_rows(
    masks: Sequence[UInt8[np.ndarray, "_x _y _z"]],
    places: Mapping[str, tuple[Workbench, Part]],
    round: int,
) -> list[Row]:
    """Dice of "everything" and of "centre" on each set: rows split, predictor, class, dice, n_used.

    "centre" is an ellipsoid in the middle of the image, its share of the image that of the class in
    the annotated masks that show it. Means over patients of the images that show the class.

    Args:
        masks: what is annotated by now.
        places: name of the split -> where its masks are.

    Source: adaptation notes 1.5.1; a zero-shot Dice of 0.097 is what an all-foreground mask scores
    at 5.1 % of foreground.
    """
    found = []
    for split, (bench, part) in places.items():
        for label, name in enumerate(bench.dataset.classes, start=1):
            share = mean_share(masks, label)
            by_patient = _scores(bench, part, label, share, round)
            for k, predictor in enumerate(("everything", "centre")):
                dice = [float(np.mean([pair[k] for pair in p])) for p in by_patient.values()]
                mean = round_(np.mean(dice)) if dice else None
                place = {"split": split, "predictor": predictor, "class": name}
                found.append(place | {"dice": mean, "n_used": len(dice)})
    return found


def round_(value: Any) -> float:
    """Five digits, as a plain number."""
    return float(np.round(value, 5))


def mean_share(masks: Sequence[UInt8[np.ndarray, "_x _y _z"]], label: int) -> float:
    """Mean share of the annotated voxels that are of a class, over the masks that show it."""
    shares = [float((m == label).sum() / (m != IGNORE).sum()) for m in masks if (m == label).any()]
    return float(np.mean(shares)) if shares else 0.0


def centre(shape: tuple[int, int, int], share: float) -> Bool[np.ndarray, "x y z"]:
    """The ellipsoid in the middle that holds about this share of the image; an axis of one voxel
    counts as none.
    """
    wide = [axis for axis in range(3) if shape[axis] > 1]
    radius = (share / UNIT_BALL[max(len(wide), 1)]) ** (1 / max(len(wide), 1))
    far = np.zeros(shape)
    for axis in wide:
        at = (np.arange(shape[axis]) + 0.5) / shape[axis] - 0.5
        far += (at**2).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.asarray(far < radius**2)


def _scores(
    bench: Workbench, part: Part, label: int, share: float, round: int
) -> dict[str, list[tuple[float, float]]]:
    """Patient -> Dice of both predictors on each image that shows the class."""
    found: dict[str, list[tuple[float, float]]] = {}
    for case in sorted(getattr(bench.split, part)):
        mask = bench.oracle.reveal(case, part, round)
        known, truth = mask != IGNORE, mask == label
        if truth.any():
            middle = centre(truth.shape, share) & known
            pair = _dice(known, truth), _dice(middle, truth)
            found.setdefault(bench.patients.get(case, str(case)), []).append(pair)
    return found


def _dice(a: Bool[np.ndarray, "*size"], b: Bool[np.ndarray, "*size"]) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))
