"""AUC of a run at the levels that were asked for, image by image in constant memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8

from salearn.cases import IGNORE
from salearn.metrics.auc import Level, StreamingAuc, image_auc, top_mean
from salearn.settings import Field, settings

Row = dict[str, Any]


@settings
class AucSettings:
    """Which AUCs a run stores; none by default, for they need every probability.

    Attributes:
        levels: "pixel_micro" (all pixels together), "pixel_macro" (mean over images that have
            both kinds of pixels), "image" (is the structure there at all).
        bins: of the histogram that pixels are counted in; the error is bounded and stored.
        presence: score of an image at the level "image": mean of the top `share` of its
            probabilities, their maximum, or the predicted area as a share of the image.
        share: of "top_mean".

    Source: levels, bound and presence scores as in reference notes "Scores and metrics".
    """

    levels: tuple[Level, ...] = ()
    bins: int = Field(default=1024, ge=2)
    presence: Literal["top_mean", "max", "area"] = "top_mean"
    share: float = Field(default=0.001, gt=0, le=1)

    def score(self, probability: Float[np.ndarray, "*size"]) -> float:
        """Presence score of an image, 0..1."""
        if self.presence == "max":
            return float(probability.max())
        if self.presence == "area":
            return float((probability > 0.5).mean())
        return top_mean(probability, self.share)


def histogram_precision(counts: StreamingAuc) -> float:
    """Average precision with one threshold a bin (ties within a bin); NaN without a positive."""
    found = np.cumsum(counts.positives[::-1])
    named = np.cumsum((counts.positives + counts.negatives)[::-1])
    if not found[-1]:
        return math.nan
    precision = found / np.maximum(named, 1)
    return float((np.diff(found, prepend=0) * precision).sum() / found[-1])


@dataclass
class AucTable:
    """Collects images of one stage on one split, class by class.

    Attributes:
        classes: names of the labels 1..K.
        cases: one row for each case and class: whether the structure is there, the presence
            score, the AUC of the case's pixels.
    """

    classes: tuple[str, ...]
    how: AucSettings
    cases: list[Row] = field(default_factory=list)
    _pooled: list[StreamingAuc] = field(init=False)
    _single: list[list[Row]] = field(init=False)

    def __post_init__(self) -> None:
        self._pooled = [StreamingAuc(self.how.bins) for _ in self.classes]
        self._single = [[] for _ in self.classes]

    def update(
        self,
        case: str,
        probabilities: Float[np.ndarray, "class x y z"],
        reference: UInt8[np.ndarray, "x y z"],
    ) -> None:
        """Add a case; pixels that nobody annotated (255) count nowhere."""
        known = reference != IGNORE
        for index, name in enumerate(self.classes):
            scores = np.clip(probabilities[index + 1][known], 0, 1)  # rounding may leave 1 + 1e-7
            if not scores.size:
                continue
            truth = reference[known] == index + 1
            one = StreamingAuc(self.how.bins)
            one.update(scores, truth)
            pooled = self._pooled[index]
            pooled.positives += one.positives
            pooled.negatives += one.negatives
            row = {"case": case, "class": name, "present": bool(truth.any())}
            row |= {"score": self.how.score(scores), "auc": one.value, "bound": one.bound}
            self._single[index].append(row | {"average_precision": histogram_precision(one)})
            self.cases.append({k: v for k, v in row.items() if k != "bound"})

    def rows(self) -> list[Row]:
        """One row for each class and level asked for; an undefined AUC is NaN and says why.

        Keys: class, level, auc, average_precision, bound (greatest error by the bins; 0 =
        exact), n_used, n_total, why.
        """
        makers = {"pixel_micro": self._micro, "pixel_macro": self._macro, "image": self._image}
        return [
            {"class": name, "level": level, "n_total": len(self._single[index])}
            | makers[level](index)
            for index, name in enumerate(self.classes)
            for level in self.how.levels
        ]

    def _micro(self, index: int) -> Row:
        pooled, used = self._pooled[index], len(self._single[index])
        why = None if not math.isnan(pooled.value) else "every pixel is of one kind"
        return _row(pooled.value, histogram_precision(pooled), pooled.bound, used, why)

    def _macro(self, index: int) -> Row:
        both = [row for row in self._single[index] if not math.isnan(row["auc"])]
        if not both:
            return _row(math.nan, math.nan, math.nan, 0, "no image has both kinds of pixels")
        means = [float(np.mean([r[k] for r in both])) for k in ("auc", "average_precision")]
        bound = float(np.mean([row["bound"] for row in both]))
        return _row(means[0], means[1], bound, len(both), None)

    def _image(self, index: int) -> Row:
        rows = self._single[index]
        scores = np.array([row["score"] for row in rows], dtype=np.float64)
        present = np.array([row["present"] for row in rows], dtype=bool)
        try:
            found = image_auc(scores, present)
        except ValueError as error:
            return _row(math.nan, math.nan, math.nan, 0, str(error))
        return _row(found.auc, found.average_precision, 0.0, found.n_used, None)


def _row(auc: float, precision: float, bound: float, used: int, why: str | None) -> Row:
    return {
        "auc": auc, "average_precision": precision, "bound": bound, "n_used": used, "why": why,
    }  # fmt: skip
