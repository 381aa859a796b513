"""Overlap of two masks, class by class. What is undefined is NaN, never 0 or 1 in silence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int, UInt8

from salearn.cases import IGNORE

LEVELS = 256

Status = Literal["ok", "absent", "missed", "false"]


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Voxels of one class by outcome. Adding the counts of cases gives micro averages.

    Every score is in 0..1, NaN where its denominator is 0. Dice and F1 are the same number for the
    same counts: per case and then averaged (macro) it is called Dice here.
    """

    tp: int
    fp: int
    fn: int
    tn: int

    def __add__(self, other: Counts) -> Counts:
        """The counts of both together."""
        return Counts(
            tp=self.tp + other.tp,
            fp=self.fp + other.fp,
            fn=self.fn + other.fn,
            tn=self.tn + other.tn,
        )

    @property
    def status(self) -> Status:
        """absent: both masks empty; missed: only the prediction; false: only the reference."""
        predicted, there = self.tp + self.fp > 0, self.tp + self.fn > 0
        if there:
            return "ok" if predicted else "missed"
        return "false" if predicted else "absent"

    @property
    def dice(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 if exactly one mask is empty, NaN if both are."""
        return ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def iou(self) -> float:
        """TP / (TP + FP + FN)."""
        return ratio(self.tp, self.tp + self.fp + self.fn)

    @property
    def sensitivity(self) -> float:
        """TP / (TP + FN); NaN if the reference is empty."""
        return ratio(self.tp, self.tp + self.fn)

    @property
    def specificity(self) -> float:
        """TN / (TN + FP), over all voxels of the image that are not ignored."""
        return ratio(self.tn, self.tn + self.fp)

    @property
    def precision(self) -> float:
        """TP / (TP + FP); NaN if the prediction is empty."""
        return ratio(self.tp, self.tp + self.fp)

    @property
    def volume_error(self) -> float:
        """(predicted - reference volume) / reference volume, signed; NaN without a reference."""
        return ratio(self.fp - self.fn, self.tp + self.fn)


def ratio(part: int, whole: int) -> float:
    """part / whole, NaN if whole is 0."""
    return part / whole if whole else float("nan")


def micro(counts: Iterable[Counts]) -> dict[str, float]:
    """dice (= F1), sensitivity and precision of all voxels pooled, so that large cases weigh more.

    NaN where the denominator is 0.
    """
    pooled = sum(counts, start=Counts(tp=0, fp=0, fn=0, tn=0))
    names = ("dice", "sensitivity", "precision")
    return {name: getattr(pooled, name) for name in names}


def confusion(
    prediction: UInt8[np.ndarray, "x y z"], reference: UInt8[np.ndarray, "x y z"]
) -> Int[np.ndarray, "256 256"]:
    """Voxels by reference label (row) and predicted label (column), IGNORE rows included."""
    pairs = reference.astype(np.uint16) * np.uint16(LEVELS) + prediction
    counts: np.ndarray = np.bincount(pairs.ravel(), minlength=LEVELS * LEVELS)
    return counts.reshape(LEVELS, LEVELS)


def class_counts(table: Int[np.ndarray, "256 256"], label: int) -> Counts:
    """The counts of one label out of a confusion table; ignored voxels count nowhere."""
    valid = table[:IGNORE]
    tp = int(valid[label, label])
    fp = int(valid[:, label].sum()) - tp
    fn = int(valid[label].sum()) - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=int(valid.sum()) - tp - fp - fn)
