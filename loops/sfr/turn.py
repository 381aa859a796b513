"""One turn of SFR: fine-tune, pseudo-label, gate, re-train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from loops.sfr.gate import screen
from loops.sfr.given import FROM_NOTHING, Given, Model, Start
from loops.sfr.stages import Stages
from loops.sfr.weighing import Choice, choose
from salearn.cases import CaseId
from salearn.segmenter import PseudoLabels


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What a turn has made.

    Attributes:
        made: pseudo-labels of the unlabeled cases that were to get one.
        admitted: those that the student learned from, unbelieved voxels at 0.
        taught: the student's predictions that SAM3 learned from in this turn (SFR+).
        gate: what the gate did, for the round record.
        plus: what SFR+ did, for the round record.
    """

    student: Model
    adapter: Model | None = None
    made: tuple[PseudoLabels, ...] = ()
    admitted: tuple[PseudoLabels, ...] = ()
    taught: tuple[PseudoLabels, ...] = ()
    gate: dict[str, Any] = field(default_factory=dict)
    plus: dict[str, Any] = field(default_factory=dict)


def bare_turn(stages: Stages, given: Given) -> Turn:
    """The host alone."""
    return Turn(student=stages.student(given, (), None, 0.0))


def first_turn(stages: Stages, given: Given, start: Start = FROM_NOTHING) -> tuple[Turn, Choice]:
    """Plain SFR, and the weight and threshold that were chosen on the way.

    Source: SFR eq. 2 to 4.
    """
    adapter = stages.adapter(given, start)
    choice = choose(stages, given)
    if stages.config.pseudo.source == "online":
        student = stages.student(given, (), adapter, choice.weight, start)
        gate = gate_record({"labels": "online"}, choice, 0)
        return Turn(student=student, adapter=adapter, gate=gate), choice
    made = stages.pseudo(given, adapter, stages.unlabeled(given))
    return retrain(stages, given, adapter, made, (), choice, start), choice


def retrain(
    stages: Stages,
    given: Given,
    adapter: Model,
    made: Sequence[PseudoLabels],
    kept: Sequence[PseudoLabels],
    choice: Choice,
    start: Start = FROM_NOTHING,
) -> Turn:
    """Screen pseudo-labels and train the student on those that pass.

    Args:
        kept: pseudo-labels that are learned from without being screened.
    """
    passed = screen(stages, given, made, adapter, choice.threshold)
    admitted = (*passed.pseudo, *kept)
    return Turn(
        student=stages.student(given, admitted, adapter, choice.weight, start),
        adapter=adapter,
        made=(*made, *kept),
        admitted=admitted if choice.weight else (),
        gate=gate_record(passed.record, choice, len(admitted)),
    )


def gate_record(screened: dict[str, Any], choice: Choice, admitted: int) -> dict[str, Any]:
    """Fields of the round record; closed = the student learned from no pseudo-label."""
    online = screened.get("labels") == "online"
    why = None
    if not choice.weight:
        why = f"weight 0 ({choice.record.get('rule')})"
    elif not admitted and not online:
        why = "no case was admitted"
    return screened | {
        "weight": choice.weight,
        "choice": choice.record,
        "closed": why is not None,
        "why": why,
    }


def summary(labels: Sequence[PseudoLabels], admitted: Sequence[PseudoLabels]) -> dict[str, Any]:
    """The field "pseudo" of the round record."""
    confidence = [p.confidence for p in labels]
    return {
        "num_cases": len(labels),
        "num_believed": len(admitted),
        "confidence_mean": round(float(np.mean(confidence)), 6),
        "confidence_min": round(float(np.min(confidence)), 6),
    }


def of_cases(labels: Sequence[PseudoLabels], cases: set[CaseId]) -> tuple[PseudoLabels, ...]:
    """The labels of these cases, in the order given."""
    return tuple(p for p in labels if p.case_id in cases)


def later(given: Given, turn: int) -> Given:
    """The same as given in another turn."""
    return replace(given, turn=turn)
