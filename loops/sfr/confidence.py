"""How far a pseudo-label is believed: estimators, and the rules that keep or refuse a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, UInt8

from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.metrics.overlap import class_counts, confusion
from salearn.segmenter import PseudoLabels
from salearn.settings import Field, settings

Estimator = Literal["volume", "foreground", "class", "entropy", "agreement", "views"]
SINGLE = ("volume", "foreground", "class", "entropy")  # one prediction is enough for these
NEVER = 2.0  # a threshold that no confidence reaches


@settings
class PseudoSettings:
    """Which pseudo-labels are used, and where they come from.

    Attributes:
        estimator: confidence of a volume, 0..1.
            "volume" = mean over voxels of the highest probability (SFR+ eq. 8; dominated by
            background for small organs); "foreground" = the same over voxels that are predicted as
            foreground; "class" = the lowest of the classes' own means, 0 if a class is predicted
            nowhere; "entropy" = 1 - mean normalised entropy; "agreement" = Dice with the
            prediction of the supervised student; "views" = mean Dice between the predictions of
            `views` intensity views of the image, test-time augmentation.
        keep: "all" volumes, those with confidence >= `threshold`, the `quantile` share with the
            highest confidence, or "calibrated": the threshold above which annotated cases that
            the maker did not see reach a mean Dice of `target` (see `gate.folds`).
        threshold: 0..1; 0.985 in SFR+.
        quantile: share that is kept, above 0 to 1.
        target: Dice, 0..1.
        views: predictions compared by the estimator "views": the image itself first.
        jitter: largest change of gain and offset of a view, in standard deviations.
        source: "store" = predicted once per volume and kept; "online" = SAM3 labels the very crop
            that the student sees, at every step (SFR's code). Online labels know no case-wise
            confidence, so `keep` must be "all" and every gate open.

    Source: SFR+ eq. 8 and sfr.md 1.5 (reference notes); all but "volume" are ours.
    """

    LATER: ClassVar[tuple[str, ...]] = ("target", "views", "jitter", "source")
    estimator: Estimator = "foreground"
    keep: Literal["all", "threshold", "quantile", "calibrated"] = "all"
    threshold: float = Field(default=0.985, ge=0, le=1)
    quantile: float = Field(default=0.5, gt=0, le=1)
    target: float = Field(default=0.8, ge=0, le=1)
    views: int = Field(default=3, ge=2)
    jitter: float = Field(default=0.1, ge=0)
    source: Literal["store", "online"] = "store"

    def __post_init__(self) -> None:
        if self.source == "online" and self.keep != "all":
            raise ConfigError(
                f"pseudo.source=online labels crops, not cases, so pseudo.keep={self.keep} has "
                "nothing to choose from; use pseudo.source=store or pseudo.keep=all"
            )


def confidence(probabilities: Float[np.ndarray, "class *space"], estimator: str) -> float:
    """How sure a prediction is, 0..1; 0 for "foreground" if no voxel is predicted as foreground.

    Args:
        estimator: one that needs a single prediction: volume, foreground, class, entropy.

    Source: "volume" is SFR+ eq. 8; the others are ours.
    """
    p = np.asarray(probabilities, dtype=np.float32)
    if estimator == "volume":
        return float(p.max(axis=0).mean(dtype=np.float64))
    if estimator == "foreground":
        inside = p.argmax(axis=0) > 0
        return float(p.max(axis=0)[inside].mean(dtype=np.float64)) if inside.any() else 0.0
    if estimator == "class":
        return min(by_class(p))
    if estimator == "entropy":
        entropy = -(p * np.log(np.maximum(p, 1e-7))).sum(axis=0)
        share = float(entropy.mean(dtype=np.float64)) / float(np.log(len(p)))
        return min(1.0, max(0.0, 1.0 - share))
    raise ConfigError(f"pseudo.estimator: '{estimator}' is none of {', '.join(SINGLE)}")


def by_class(probabilities: Float[np.ndarray, "class *space"]) -> list[float]:
    """Mean highest probability where each foreground class is predicted; 0 where nowhere."""
    p = np.asarray(probabilities, dtype=np.float32)
    labels, greatest = p.argmax(axis=0), p.max(axis=0)
    return [
        float(greatest[labels == c].mean(dtype=np.float64)) if (labels == c).any() else 0.0
        for c in range(1, len(p))
    ]


def mean_dice(
    labels: UInt8[np.ndarray, "x y z"], reference: UInt8[np.ndarray, "x y z"], num_classes: int
) -> float:
    """Mean Dice over the classes that either shows, 0..1; 1 if neither shows any.

    Args:
        reference: 255 is ignored.
        num_classes: background included.
    """
    table = confusion(labels, reference)
    counts = [class_counts(table, c) for c in range(1, num_classes)]
    found = [c.dice for c in counts if c.status != "absent"]
    return float(np.mean(found)) if found else 1.0


def between_views(predictions: Sequence[Float[np.ndarray, "class x y z"]]) -> float:
    """Mean Dice of all pairs of predictions, 0..1.

    Source: consistency kap_u of the reconstruction in active_learning.md 2.5 (reference notes).
    """
    labels = [p.argmax(axis=0).astype(np.uint8) for p in predictions]
    pairs = combinations(labels, 2)
    return float(np.mean([mean_dice(a, b, len(predictions[0])) for a, b in pairs]))


def calibrated(pairs: Sequence[tuple[float, float]], target: float) -> float:
    """The lowest confidence from which on held-out cases reach a mean Dice of `target`.

    Args:
        pairs: confidence and Dice of cases that the maker did not see.

    Returns:
        A threshold 0..1, or `NEVER` if no threshold reaches the target.
    """
    for threshold in sorted({c for c, _ in pairs}):
        if np.mean([dice for c, dice in pairs if c >= threshold]) >= target:
            return threshold
    return NEVER


def select_reliable(
    labels: Sequence[PseudoLabels], given: PseudoSettings, threshold: float | None = None
) -> list[PseudoLabels]:
    """The volumes that are believed, in the order given; of equal ones the earlier case id wins.

    Args:
        threshold: the calibrated one, where `keep` asks for it.
    """
    if given.keep == "all":
        return list(labels)
    if given.keep == "quantile":
        kept = most_certain({p.case_id: p.confidence for p in labels}, given.quantile)
        return [label for label in labels if label.case_id in kept]
    if given.keep == "calibrated" and threshold is None:
        raise ValueError("a calibrated threshold was asked for, but none was computed")
    least = given.threshold if given.keep == "threshold" else threshold
    assert least is not None
    return [label for label in labels if label.confidence >= least]


def most_certain(values: Mapping[CaseId, float], share: float) -> set[CaseId]:
    """The share of the cases with the highest values; of equal ones the earlier id wins."""
    ranked = sorted(values, key=lambda case: (-values[case], case))
    return set(ranked[: round(share * len(values))])
