"""Area under the ROC curve, always with its level: pooled pixels, pixels of each image, or images.

The three are different numbers about different questions. None of them is tested by counting pixels
as independent: see salearn.stats.clustered.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

Level = Literal["pixel_micro", "pixel_macro", "image"]
Scored = tuple[np.ndarray, np.ndarray]  # scores and truth of one image, flat or not


def auc(scores: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """P(positive scores higher) + P(tie) / 2, by midranks (Mann-Whitney); NaN without both kinds.

    Raises:
        ValueError: a score is NaN.
    """
    from scipy.stats import rankdata

    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN; leave out and count what has none")
    m = int(truth.sum())
    n = len(truth) - m
    if not m or not n:
        return math.nan
    ranks = rankdata(scores)
    return (float(ranks[truth].sum()) - m * (m + 1) / 2) / (m * n)


def average_precision(scores: Float[np.ndarray, " n"], truth: Bool[np.ndarray, " n"]) -> float:
    """Sum over thresholds of (recall step) x precision, as scikit-learn; NaN without a positive.

    Unlike the AUC it does not profit from a large easy background.
    """
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, scores)) if truth.any() else math.nan


@dataclass(frozen=True, kw_only=True)
class AucResult:
    """An AUC and what it was computed from.

    Attributes:
        level: "pixel_micro" (all pixels together), "pixel_macro" (mean over images that have both
            kinds of pixels) or "image" (one score an image).
        auc: 0..1; NaN if undefined.
        average_precision: at the same level.
        n_used, n_total: images that entered, images given.
    """

    level: Level
    auc: float
    average_precision: float
    n_used: int
    n_total: int


def pixel_micro(images: Iterable[Scored]) -> AucResult:
    """AUC over the pixels of all images together; give only valid pixels (not IGNORE)."""
    pairs = [_flat(scores, truth) for scores, truth in images]
    if not pairs:
        raise ValueError("no images")
    scores = np.concatenate([s for s, _ in pairs])
    truth = np.concatenate([t for _, t in pairs])
    return AucResult(
        level="pixel_micro",
        auc=auc(scores, truth),
        average_precision=average_precision(scores, truth),
        n_used=len(pairs),
        n_total=len(pairs),
    )


def pixel_macro(images: Iterable[Scored]) -> AucResult:
    """AUC of each image, mean over the images with both kinds of pixels."""
    pairs = [_flat(scores, truth) for scores, truth in images]
    both = [(s, t) for s, t in pairs if t.any() and not t.all()]
    areas = [auc(s, t) for s, t in both]
    precisions = [average_precision(s, t) for s, t in both]
    return AucResult(
        level="pixel_macro",
        auc=float(np.mean(areas)) if areas else math.nan,
        average_precision=float(np.mean(precisions)) if areas else math.nan,
        n_used=len(both),
        n_total=len(pairs),
    )


def _flat(scores: np.ndarray, truth: np.ndarray) -> Scored:
    if scores.shape != truth.shape:
        raise ValueError(f"scores have shape {scores.shape}, the truth {truth.shape}")
    return scores.ravel().astype(np.float64), truth.ravel().astype(bool)


def image_auc(
    scores: Float[np.ndarray, " image"], present: Bool[np.ndarray, " image"]
) -> AucResult:
    """AUC of "is the structure there" with one score an image.

    Raises:
        ValueError: every image has the structure, or none has: there is nothing to tell apart.
    """
    if present.all() or not present.any():
        kind = "an image without" if present.all() else "an image with"
        raise ValueError(f"the image-level AUC is undefined: it needs {kind} the structure")
    return AucResult(
        level="image",
        auc=auc(scores, present),
        average_precision=average_precision(scores, present),
        n_used=len(scores),
        n_total=len(scores),
    )


def top_mean(scores: Float[np.ndarray, "*size"], share: float = 0.001) -> float:
    """Mean of the top `share` of an image's scores (at least one): a presence score."""
    flat = scores.ravel()
    count = max(1, round(share * flat.size))
    return float(np.partition(flat, flat.size - count)[-count:].mean())


@dataclass
class StreamingAuc:
    """Pixel AUC from histograms: any number of images in constant memory, with an error bound.

    Scores 0..1 fall into equal bins; pairs within a bin count half. The error is at most
    1/2 sum_b P_b N_b / (P N), given as `bound`.
    """

    bins: int = 1024
    positives: np.ndarray = field(init=False)
    negatives: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.positives = np.zeros(self.bins, dtype=np.int64)
        self.negatives = np.zeros(self.bins, dtype=np.int64)

    def update(self, scores: Float[np.ndarray, "*size"], truth: Bool[np.ndarray, "*size"]) -> None:
        """Add the pixels of an image.

        Raises:
            ValueError: a score is outside 0..1 or NaN.
        """
        if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
            raise ValueError("streaming AUC needs scores in 0..1; give probabilities")
        which = np.minimum((scores.ravel() * self.bins).astype(np.int64), self.bins - 1)
        found = truth.ravel()
        self.positives += np.bincount(which[found], minlength=self.bins)
        self.negatives += np.bincount(which[~found], minlength=self.bins)

    @property
    def value(self) -> float:
        """The AUC; NaN until both kinds of pixels were seen."""
        below = np.cumsum(self.negatives) - self.negatives
        return self._share(self.positives * (below + self.negatives / 2))

    @property
    def bound(self) -> float:
        """Largest possible error of `value`."""
        return self._share(self.positives.astype(np.float64) * self.negatives / 2)

    def _share(self, pairs: np.ndarray) -> float:
        total = float(self.positives.sum()) * float(self.negatives.sum())
        return float(pairs.sum()) / total if total else math.nan
