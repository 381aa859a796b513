"""Pseudo-labels: soft probabilities stored once per volume, and how far they are believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float

from salearn.cases import CaseId
from salearn.errors import ConfigError, TrainingError
from salearn.models.sam3_segmenter import SamSegmenter
from salearn.segmenter import PseudoLabels, Segmenter
from salearn.settings import Field, settings
from salearn.store import Store, atomic, write_json

__all__ = [
    "PseudoSettings",
    "SamSegmenter",
    "confidence",
    "read_pseudo_labels",
    "select_reliable",
    "write_pseudo_labels",
]

KIND = "pseudo"
PROBABILITIES, CONFIDENCE = "probabilities.npy", "confidence.json"
CHUNK = 4  # volumes whose probabilities are in memory at once
Report = Callable[[int, int, dict[str, float]], None]
Estimator = Literal["volume", "foreground", "entropy"]


@settings
class PseudoSettings:
    """Which pseudo-labels are used.

    Attributes:
        estimator: confidence of a volume: "volume" = mean over voxels of the highest probability
            (SFR+ eq. 8; dominated by background for small organs), "foreground" = the same over
            voxels that are predicted as foreground, "entropy" = 1 - mean normalised entropy.
        keep: "all" volumes, those with confidence >= `threshold`, or the `quantile` share with
            the highest confidence.
        threshold: 0..1; 0.985 in SFR+.
        quantile: share that is kept, 0..1.
    """

    estimator: Estimator = "foreground"
    keep: Literal["all", "threshold", "quantile"] = "all"
    threshold: float = Field(default=0.985, ge=0, le=1)
    quantile: float = Field(default=0.5, gt=0, le=1)


def confidence(probabilities: Float[np.ndarray, "class x y z"], estimator: str) -> float:
    """How sure a prediction is, 0..1; 0 for "foreground" if no voxel is predicted as foreground.

    Source: "volume" is SFR+ eq. 8; the other two are ours.
    """
    p = np.asarray(probabilities, dtype=np.float32)
    if estimator == "volume":
        return float(p.max(axis=0).mean(dtype=np.float64))
    if estimator == "foreground":
        inside = p.argmax(axis=0) > 0
        return float(p.max(axis=0)[inside].mean(dtype=np.float64)) if inside.any() else 0.0
    if estimator == "entropy":
        entropy = -(p * np.log(np.maximum(p, 1e-7))).sum(axis=0)
        share = float(entropy.mean(dtype=np.float64)) / float(np.log(len(p)))
        return min(1.0, max(0.0, 1.0 - share))
    raise ConfigError(f"pseudo.estimator: '{estimator}' is none of volume, foreground, entropy")


def select_reliable(labels: Sequence[PseudoLabels], given: PseudoSettings) -> list[PseudoLabels]:
    """The volumes that are believed, in the order given; of equal ones the earlier case id wins."""
    if given.keep == "all":
        return list(labels)
    if given.keep == "threshold":
        return [label for label in labels if label.confidence >= given.threshold]
    number = round(given.quantile * len(labels))
    ranked = sorted(labels, key=lambda label: (-label.confidence, label.case_id))
    kept = {label.case_id for label in ranked[:number]}
    return [label for label in labels if label.case_id in kept]


def write_pseudo_labels(
    segmenter: Segmenter,
    items: Iterable[tuple[CaseId, Float[np.ndarray, "channel _x _y _z"]]],
    store: Store,
    keys: Mapping[CaseId, str],
    given: PseudoSettings,
    report: Report | None = None,
) -> None:
    """Predict volumes and store each once, under "pseudo" and its key; what is there is left out.

    Args:
        items: case and image.
        keys: content key of each case's pseudo-label (adapter, stitching, image).
        report: called with (volumes done, all keys, {"confidence": that of the volume}).

    Raises:
        TrainingError: probabilities are not finite (the case is named).
    """
    wanted = ((case, image) for case, image in items if not store.has(KIND, keys[case]))
    done = sum(store.has(KIND, key) for key in keys.values())
    while chunk := list(islice(wanted, CHUNK)):
        predictions = segmenter.predict([image for _, image in chunk])
        for (case, _), probabilities in zip(chunk, predictions, strict=True):
            _check_finite(case, probabilities)
            folder = store.get(KIND, keys[case], partial(_write, probabilities=probabilities))
            done += 1
            if report is not None:
                report(done, len(keys), {"confidence": _stored(folder)[given.estimator]})


def read_pseudo_labels(case: CaseId, folder: Path, given: PseudoSettings) -> PseudoLabels:
    """A stored pseudo-label with the confidence that the settings ask for."""
    return PseudoLabels(
        case_id=case,
        probabilities=folder / PROBABILITIES,
        confidence=_stored(folder)[given.estimator],
    )


def _write(folder: Path, probabilities: Float[np.ndarray, "class x y z"]) -> None:
    """Confidences are of what is stored (float16), so they never depend on how it was made."""
    stored = probabilities.astype(np.float16)
    with atomic(folder / PROBABILITIES) as path, path.open("wb") as handle:
        np.save(handle, stored)
    names = ("volume", "foreground", "entropy")
    write_json(folder / CONFIDENCE, {name: confidence(stored, name) for name in names})


def _stored(folder: Path) -> dict[str, float]:
    values: dict[str, float] = json.loads((folder / CONFIDENCE).read_text())
    return values


def _check_finite(case: CaseId, probabilities: Float[np.ndarray, "class x y z"]) -> None:
    if not np.isfinite(probabilities).all():
        raise TrainingError(
            f"pseudo-labels of case {case} are not finite: the adapter has diverged, or the image "
            "holds NaN; lower finetune.learning_rate or check the file"
        )
