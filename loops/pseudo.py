"""Pseudo-labels: soft probabilities stored once per volume, and how far they are believed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from jaxtyping import Float

from loops.sfr.confidence import SINGLE, PseudoSettings, confidence, select_reliable
from salearn.cases import CaseId
from salearn.errors import TrainingError
from salearn.models.sam3_segmenter import SamSegmenter
from salearn.segmenter import PseudoLabels, Segmenter
from salearn.store import Store, atomic, write_json

__all__ = [
    "PseudoSettings",
    "SamSegmenter",
    "confidence",
    "read_pseudo_labels",
    "select_reliable",
    "write_probabilities",
    "write_pseudo_labels",
]

KIND = "pseudo"
PROBABILITIES, CONFIDENCE = "probabilities.npy", "confidence.json"
CHUNK = 4  # volumes whose probabilities are in memory at once
Report = Callable[[int, int, dict[str, float]], None]


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
    shown = given.estimator if given.estimator in SINGLE else "foreground"
    while chunk := list(islice(wanted, CHUNK)):
        predictions = segmenter.predict([image for _, image in chunk])
        for (case, _), probabilities in zip(chunk, predictions, strict=True):
            _check_finite(case, probabilities)
            folder = store.get(
                KIND, keys[case], partial(write_probabilities, probabilities=probabilities)
            )
            done += 1
            if report is not None:
                report(done, len(keys), {"confidence": _confidence(folder, shown)})


def read_pseudo_labels(
    case: CaseId, folder: Path, given: PseudoSettings, value: float | None = None
) -> PseudoLabels:
    """A stored pseudo-label with the confidence that the settings ask for.

    Args:
        value: the confidence, where the estimator needs more than this one prediction.
    """
    return PseudoLabels(
        case_id=case,
        probabilities=folder / PROBABILITIES,
        confidence=_confidence(folder, given.estimator) if value is None else value,
    )


def write_probabilities(folder: Path, probabilities: Float[np.ndarray, "class x y z"]) -> None:
    """Store probabilities as float16 with every confidence that one prediction gives.

    Confidences are of what is stored, so they never depend on how it was made.
    """
    stored = probabilities.astype(np.float16)
    with atomic(folder / PROBABILITIES) as path, path.open("wb") as handle:
        np.save(handle, stored)
    write_json(folder / CONFIDENCE, {name: confidence(stored, name) for name in SINGLE})


def _confidence(folder: Path, estimator: str) -> float:
    values: dict[str, float] = json.loads((folder / CONFIDENCE).read_text())
    if estimator not in values:  # stored before this estimator was known
        values[estimator] = confidence(np.load(folder / PROBABILITIES, mmap_mode="r"), estimator)
    return values[estimator]


def _check_finite(case: CaseId, probabilities: Float[np.ndarray, "class x y z"]) -> None:
    if not np.isfinite(probabilities).all():
        raise TrainingError(
            f"pseudo-labels of case {case} are not finite: the adapter has diverged, or the image "
            "holds NaN; lower finetune.learning_rate or check the file"
        )
