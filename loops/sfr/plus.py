"""SFR+: SAM3 and the student teach one another in turns.

The paper says what is exchanged and leaves the rest open; each open point is a setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import UInt8

from loops.sfr.confidence import by_class
from loops.sfr.given import Given, Model, Start
from loops.sfr.plus_settings import SfrPlusSettings
from loops.sfr.reliability import Parted, part
from loops.sfr.stages import Stages
from loops.sfr.turn import Turn, first_turn, later, of_cases, retrain
from loops.sfr.weighing import Choice
from salearn.cases import IGNORE, CaseId
from salearn.segmenter import PseudoLabels
from salearn.store import content_key


def turns_of(stages: Stages, given: Given) -> Iterator[Turn]:
    """Every turn of a round, each found by its content keys; the last one counts.

    Source: SFR+ (Li et al. 2025), as a state machine whose state is the store alone.
    """
    how = stages.config.sfr_plus
    turn, choice = first_turn(stages, given, _opening(how))
    if how.first == "supervised":
        turn = replace(turn, student=stages.supervised(given))
    yield turn
    if choice.weight == 0:  # the gate is closed: what SAM3 learns would reach no student
        return
    for number in range(1, how.turns):
        parted = part(stages, given, turn)
        following = _next_turn(stages, later(given, number), turn, parted, choice)
        if following is None:
            return
        turn = following
        yield turn


def _opening(how: SfrPlusSettings) -> Start:
    return Start(carry=how.optimiser == "carried")


def _next_turn(
    stages: Stages, given: Given, before: Turn, parted: Parted, choice: Choice
) -> Turn | None:
    """SAM3 learns from reliable cases, the student from the others; None = stop here."""
    how = stages.config.sfr_plus
    if not parted.high and how.if_none == "stop":
        return None
    if not parted.low and how.if_all == "stop":
        return None
    used = _used(how, parted.high, len(stages.labeled_cases(given)))
    adapter = stages.adapter(given, _sam_start(stages, given, before, used))
    cases = [p.case_id for p in (*parted.low, *parted.high)]
    made = stages.pseudo(given, adapter, sorted(cases))
    low = of_cases(made, {p.case_id for p in parted.low})
    kept = _kept(how, made, parted)
    start = _start(how, how.student, before.student, how.student_iterations)
    turn = retrain(stages, given, adapter, low, kept, choice, start)
    counts = {"num_taught": len(used), "num_kept": len(kept)}
    return replace(turn, taught=used, plus={"turn": given.turn, **parted.record, **counts})


def _kept(
    how: SfrPlusSettings, made: Sequence[PseudoLabels], parted: Parted
) -> tuple[PseudoLabels, ...]:
    """Pseudo-labels that reliable cases keep in re-training."""
    source = how.keep_high
    if not parted.low and how.if_all == "keep" and source == "none":
        source = "sam"
    if source == "none":
        return ()
    high = {p.case_id for p in parted.high}
    return parted.high if source == "student" else of_cases(made, high)


def _start(
    how: SfrPlusSettings, rule: str, model: Model | None, iterations: int | None, **extra: Any
) -> Start:
    going = rule == "continue"
    carry = going and how.optimiser == "carried"
    return Start(model=model if going else None, iterations=iterations, carry=carry, **extra)


def _sam_start(stages: Stages, given: Given, before: Turn, used: Sequence[PseudoLabels]) -> Start:
    """SAM3's next training, with the reliable cases it may use."""
    how = stages.config.sfr_plus
    sam = {p.case_id: p for p in before.made}
    if how.labels != "student" and any(p.case_id not in sam for p in used):
        assert before.adapter is not None
        missing = sorted(p.case_id for p in used)
        sam |= {p.case_id: p for p in stages.pseudo(given, before.adapter, missing)}
    extra = tuple(_labels(how, p, sam.get(p.case_id)) for p in used)
    return _start(how, how.sam, before.adapter, how.sam_iterations, extra=extra)


def _used(
    how: SfrPlusSettings, high: Sequence[PseudoLabels], labeled: int
) -> tuple[PseudoLabels, ...]:
    """The reliable cases that SAM3 learns from, at most `most` per labeled one."""
    if how.most is None or len(high) <= (limit := max(1, round(how.most * labeled))):
        return tuple(high)
    ranked = sorted(high, key=lambda p: (-p.confidence, p.case_id))
    if how.balance == "class":
        ranked = in_turns(ranked, {p.case_id: by_class(p.load()) for p in ranked})
    chosen = {p.case_id for p in ranked[:limit]}
    return tuple(p for p in high if p.case_id in chosen)


def in_turns(
    labels: Sequence[PseudoLabels], sure: Mapping[CaseId, Sequence[float]]
) -> list[PseudoLabels]:
    """The surest case of class 1, then of class 2, ..., then the next surest of class 1, ..."""
    waiting, order, kind = list(labels), [], 0
    while waiting:
        best = max(waiting, key=lambda p: sure[p.case_id][kind])
        order.append(best)
        waiting.remove(best)
        kind = (kind + 1) % len(sure[best.case_id])
    return order


def _labels(
    how: SfrPlusSettings, student: PseudoLabels, sam: PseudoLabels | None
) -> tuple[CaseId, str, Callable[[], UInt8[np.ndarray, "x y z"]]]:
    """Case, key and labels of a reliable case for SAM3's training."""
    names = [p.probabilities.parent.name for p in (student, sam) if p is not None]
    parts = names[:1] if how.labels == "student" else names
    key = content_key("sam_labels", how.labels, how.voxel_threshold, *parts)

    def make() -> UInt8[np.ndarray, "x y z"]:
        p = np.asarray(student.load(), dtype=np.float32)
        labels = (p if how.labels == "student" or sam is None else sam.load()).argmax(axis=0)
        labels = labels.astype(np.uint8)
        doubtful = p.max(axis=0) < how.voxel_threshold
        if how.labels == "agreed":
            doubtful |= labels != p.argmax(axis=0)
        return np.where(doubtful, np.uint8(IGNORE), labels)

    return student.case_id, key, make
