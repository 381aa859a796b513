"""The automatic weight of the pseudo-labels, chosen on held-out masks inside the budget."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from loops.sfr.confidence import NEVER, calibrated, mean_dice
from loops.sfr.gate import screen
from loops.sfr.holdout import Fold, make_folds
from salearn.cases import CaseId
from salearn.segmenter import PseudoLabels

if TYPE_CHECKING:
    from loops.sfr.given import Given, Model
    from loops.sfr.stages import Stages


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen.

    Attributes:
        weight: w_pl; 0 = the gate is closed.
        threshold: the calibrated one, or None.
        record: how it came about.
    """

    weight: float
    threshold: float | None = None
    record: dict[str, Any] = field(default_factory=dict)


def choose(stages: Stages, given: Given) -> Choice:
    """Weight and threshold, with cross-validation over annotated cases where one is asked for."""
    config = stages.config
    gate, weight = config.gate, config.pseudo_loss.weight
    calibrates = config.pseudo.keep == "calibrated"
    if gate.weight == "fixed" and not calibrates:
        return Choice(weight=weight, record={"rule": "fixed"})
    folds = make_folds(stages.labeled_cases(given), gate.folds, gate.slab, config.data.axis)
    if not folds:
        # One labeled case and no slabs: nothing can be held out, nothing is calibrated.
        why = "one labeled case and gate.slab=0: nothing to hold out"
        return Choice(
            weight=weight,
            threshold=0.0 if calibrates else None,
            record={"rule": "fixed", "why": why},
        )
    held = [_Held.of(stages, replace(given, fold=fold)) for fold in folds]
    threshold = calibrated(_pairs(stages, held), config.pseudo.target) if calibrates else None
    told: dict[str, Any] = {
        "rule": gate.weight,
        "folds": len(folds),
        "held_out": "cases" if folds[0].whole else "slabs",
    }
    if threshold is not None:
        told["threshold"] = threshold if threshold < NEVER else None
    if gate.weight == "fixed":
        return Choice(weight=weight, threshold=threshold, record=told)
    rule = _compared if gate.weight == "compare" else _searched
    found, details = rule(stages, held, threshold)
    return Choice(weight=found, threshold=threshold, record=told | details)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A fold with the adapter that has not seen it, and what that predicts of it."""

    given: Given
    fold: Fold
    adapter: Model
    predicted: tuple[PseudoLabels, ...]

    @classmethod
    def of(cls, stages: Stages, given: Given) -> _Held:
        assert given.fold is not None
        adapter = stages.adapter(given)
        predicted = stages.pseudo(given, adapter, given.fold.cases)
        return cls(given=given, fold=given.fold, adapter=adapter, predicted=predicted)


def _pairs(stages: Stages, held: Sequence[_Held]) -> list[tuple[float, float]]:
    """Confidence and Dice of SAM3 on every held-out case or fold of slabs."""
    return [
        (p.confidence, dice)
        for one in held
        for p, dice in zip(
            one.predicted, held_out_dice(stages, one.fold, one.predicted), strict=True
        )
    ]


def _compared(
    stages: Stages, held: Sequence[_Held], threshold: float | None
) -> tuple[float, dict[str, Any]]:
    """The configured weight, or 0 where SAM3 is worse on held-out masks than the student."""
    sam = _mean([held_out_dice(stages, one.fold, one.predicted) for one in held])
    other = _mean([
        held_out_dice(stages, one.fold, tuple(
            stages.supervised_predictions(one.given, one.fold.cases).values()
        )) for one in held
    ])  # fmt: skip
    weight = stages.config.pseudo_loss.weight
    is_open = sam >= other + stages.config.gate.margin
    told = {"dice_sam": round(sam, 6), "dice_supervised": round(other, 6)}
    return (weight if is_open else 0.0), told


def _searched(
    stages: Stages, held: Sequence[_Held], threshold: float | None
) -> tuple[float, dict[str, Any]]:
    """The weight with the best held-out student; 0 unless one beats it by the margin."""
    positive = sorted({w for w in stages.config.gate.weights if w > 0})
    dice = {0.0: _mean([_student_dice(stages, one, (), 0.0) for one in held])}
    screened = [_screened(stages, one, threshold) for one in held]
    for weight in positive:
        pairs = zip(held, screened, strict=True)
        dice[weight] = _mean([_student_dice(stages, one, p, weight) for one, p in pairs])
    best = max(positive, key=lambda w: (dice[w], -w))
    chosen = best if dice[best] >= dice[0.0] + stages.config.gate.margin else 0.0
    if not any(screened):
        chosen = 0.0
    tried = [{"weight": w, "dice": round(d, 6)} for w, d in sorted(dice.items())]
    return chosen, {"tried": tried}


def _screened(stages: Stages, one: _Held, threshold: float | None) -> tuple[PseudoLabels, ...]:
    """Pseudo-labels of the unlabeled cases as this fold would admit them."""
    made = stages.pseudo(one.given, one.adapter, stages.unlabeled(one.given))
    return screen(stages, one.given, made, one.adapter, threshold).pseudo


def _student_dice(
    stages: Stages, one: _Held, pseudo: Sequence[PseudoLabels], weight: float
) -> list[float]:
    model = stages.student(one.given, pseudo, one.adapter, weight)
    stage = stages.config.gate.stage
    return held_out_dice(
        stages, one.fold, stages.student_predictions(one.given, model, one.fold.cases, stage)
    )


def held_out_dice(stages: Stages, fold: Fold, predicted: Sequence[PseudoLabels]) -> list[float]:
    """Dice of each held-out case against what is annotated of it (of its held-out slabs)."""
    found = []
    for p in predicted:
        labels = p.load().argmax(axis=0).astype(np.uint8)
        mask = fold.hidden(stages.bench.oracle.mask(CaseId(p.case_id)))
        found.append(mean_dice(labels, mask, stages.num_classes))
    return found


def _mean(rows: Sequence[Sequence[float]]) -> float:
    """Mean over all held-out cases of all folds."""
    return float(np.mean([value for row in rows for value in row]))
