"""How reliable the student's predictions are, and which cases SFR+ therefore hands to SAM3."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from loops.sfr.confidence import calibrated, confidence, select_reliable
from loops.sfr.given import Given, Model
from loops.sfr.holdout import make_folds
from loops.sfr.plus_settings import SfrPlusSettings
from loops.sfr.stages import Stages, Which
from loops.sfr.turn import Turn
from loops.sfr.weighing import held_out_dice
from loops.student import Student
from salearn.cases import CaseId
from salearn.segmenter import PseudoLabels, Segmenter
from salearn.store import content_key

DROPOUT_SEED = 2000


@dataclass(frozen=True, kw_only=True)
class Parted:
    """Cases of a turn by the reliability of the student's prediction."""

    high: tuple[PseudoLabels, ...]
    low: tuple[PseudoLabels, ...]
    record: Mapping[str, Any]


def part(stages: Stages, given: Given, turn: Turn) -> Parted:
    """Rate the student's predictions of the unlabeled cases and part them at tau."""
    how = stages.config.sfr_plus
    cases = stages.unlabeled(given)
    sam = {p.case_id: p for p in turn.made}
    if how.reliable.estimator == "agreement" and turn.adapter is not None:
        sam |= {p.case_id: p for p in stages.pseudo(given, turn.adapter, cases)}
    rated = _rated(stages, turn.student, cases, given.round, sam)
    threshold = None
    if how.reliable.keep == "calibrated":
        threshold = calibrated_threshold(stages, given)
    high = select_reliable(rated, how.reliable, threshold)
    if not high and rated and how.if_none == "best":
        high = [max(rated, key=lambda p: (p.confidence, p.case_id))]
    chosen = {p.case_id for p in high}
    values = [p.confidence for p in rated]
    record = {
        "num_high": len(high),
        "num_low": len(rated) - len(high),
        "confidence_mean": round(float(np.mean(values)), 6) if values else None,
        "confidence_min": round(float(np.min(values)), 6) if values else None,
        "threshold": threshold,
    }
    low = tuple(p for p in rated if p.case_id not in chosen)
    return Parted(high=tuple(high), low=low, record=record)


def _rated(
    stages: Stages,
    student: Model,
    cases: Sequence[CaseId],
    round: int,
    sam: Mapping[CaseId, PseudoLabels],
) -> tuple[PseudoLabels, ...]:
    how = stages.config.sfr_plus
    keys = stages.pseudo_keys(content_key(student.key, how.stage, *_passes(how)), cases)
    rated = stages.rated(
        lambda: _predictor(stages, student, how.stage), keys, round, how.reliable, sam
    )
    if how.sample == "volume":
        return rated
    return tuple(replace(p, confidence=_in_box(p.load(), how)) for p in rated)


def _passes(how: SfrPlusSettings) -> list[int]:
    return [how.dropout_passes] if how.dropout_passes else []


def _predictor(stages: Stages, student: Model, which: Which) -> Segmenter:
    how = stages.config.sfr_plus
    loaded = stages.load(student, which)
    return DropoutMean(loaded, how.dropout_passes) if how.dropout_passes else loaded


def _in_box(probabilities: Float[np.ndarray, "class x y z"], how: SfrPlusSettings) -> float:
    """Confidence inside the box of the predicted foreground; 0 if there is none."""
    inside = np.argwhere(probabilities.argmax(axis=0) > 0)
    if not len(inside):
        return 0.0
    low, high = inside.min(axis=0) - how.margin, inside.max(axis=0) + how.margin + 1
    box = tuple(slice(max(0, int(a)), int(b)) for a, b in zip(low, high, strict=True))
    return confidence(probabilities[(slice(None), *box)], how.reliable.estimator)


def calibrated_threshold(stages: Stages, given: Given) -> float:
    """Tau from students of held-out folds, see `pseudo.target`.

    With one labeled case and gate.slab=0 nothing can be held out, and every case passes.
    """
    config = stages.config
    folds = make_folds(stages.labeled_cases(given), config.gate.folds, config.gate.slab,
                       config.data.axis)  # fmt: skip
    pairs = []
    for fold in folds:
        inside = replace(given, fold=fold)
        student = stages.supervised(inside)
        rated = _rated(stages, student, fold.cases, given.round, stages.sam_of(inside, fold.cases))
        found = held_out_dice(stages, fold, rated)
        pairs += [(p.confidence, dice) for p, dice in zip(rated, found, strict=True)]
    return calibrated(pairs, config.sfr_plus.reliable.target) if pairs else 0.0


class DropoutMean:
    """A student that answers the mean of several passes with dropout on."""

    def __init__(self, student: Student, passes: int) -> None:
        self._student = student
        self._passes = passes

    def predict(
        self, volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]]
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """Mean probabilities; the passes of a volume depend on nothing but their number."""
        for volume in volumes:
            found = [
                next(iter(self._student.predict_dropout([volume], None, DROPOUT_SEED + k)))
                for k in range(self._passes)
            ]
            mean: np.ndarray = np.stack(found).mean(axis=0, dtype=np.float32)
            yield mean

    def save(self, path: Path) -> None:
        """As the student."""
        self._student.save(path)
