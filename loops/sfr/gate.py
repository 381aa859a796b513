"""The gate of the pseudo-labels: who is admitted, which voxels, and with what weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from loops.sfr import selective
from loops.sfr.confidence import select_reliable
from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.segmenter import PseudoLabels
from salearn.settings import Field, settings

if TYPE_CHECKING:
    from loops.sfr.given import Given, Model
    from loops.sfr.stages import Stages


@settings
class GateSettings:
    """When pseudo-labels may be learned from.

    The gate by confidence is `pseudo.keep`; by voxel confidence, `pseudo_loss.voxel_threshold`.

    Attributes:
        agreement: cases whose pseudo-label has a lower Dice with the prediction of the supervised
            student (masks alone) are refused, 0..1; 0 = no test.
        voxels: voxels where the two predict different classes are left out.
        stage: the supervised student itself, or its EMA teacher.
        weight: "fixed" = `pseudo_loss.weight`; "compare" = that, or 0 where SAM3 is worse than
            the supervised student on held-out masks; "search" = the one of `weights` under which
            the student is best on held-out masks. Held out are annotated cases, in folds: nothing
            is paid for them twice, and no model of a fold has seen them.
        weights: candidates of "search"; 0 is always among them.
        folds: held-out parts; each costs an adapter and one student per candidate.
        margin: Dice by which the pseudo-labels must beat their absence; below 0 is lenient.
        slab: slices of a held-out slab where only one case is labeled; 0 = nothing is held out
            then and the weight stays as configured.

    Source: ours; see docs/sfr.md.
    """

    agreement: float = Field(default=0.0, ge=0, le=1)
    voxels: bool = False
    stage: Literal["student", "teacher"] = "student"
    weight: Literal["fixed", "compare", "search"] = "fixed"
    weights: tuple[float, ...] = (0.0, 0.3, 1.0)
    folds: int = Field(default=2, ge=2)
    margin: float = Field(default=0.0, ge=-1, le=1)
    slab: int = Field(default=4, ge=0)

    def __post_init__(self) -> None:
        if any(not 0 <= w <= 100 for w in self.weights) or not any(self.weights):
            raise ConfigError(
                f"gate.weights: {self.weights} must be numbers from 0, at least one above 0"
            )

    @property
    def agrees(self) -> bool:
        """Whether the supervised student is asked."""
        return self.voxels or self.agreement > 0


@dataclass(frozen=True, kw_only=True)
class Screened:
    """The pseudo-labels that passed, and what the record says about it."""

    pseudo: tuple[PseudoLabels, ...]
    record: dict[str, Any]


def screen(
    stages: Stages,
    given: Given,
    made: Sequence[PseudoLabels],
    adapter: Model,
    threshold: float | None = None,
) -> Screened:
    """Reliability, then agreement by case, then voxels; the order of `made` is kept.

    Args:
        threshold: the calibrated one, where `pseudo.keep` asks for it.
    """
    config = stages.config
    confident = select_reliable(made, config.pseudo, threshold)
    kept = _selected(stages, given, confident, adapter)
    record: dict[str, Any] = {
        "num_made": len(made), "num_confident": len(confident), "num_reliable": len(kept),
    }  # fmt: skip
    if config.gate.agrees and kept:
        kept, told = _agreeing(stages, given, kept)
        record |= told
    kept = _masked(stages, given, kept)
    share = len(kept) / len(made) if made else 0.0
    return Screened(
        pseudo=tuple(kept),
        record=record | {"num_admitted": len(kept), "admitted_share": round(share, 6)},
    )


def _selected(
    stages: Stages, given: Given, labels: Sequence[PseudoLabels], adapter: Model
) -> list[PseudoLabels]:
    how = stages.config.selective
    distance, furthest = None, np.inf
    if how.size is not None and labels:
        labels = _of_fitting_size(stages, given, labels, how.size)
    if how.far and labels:
        used = adapter if how.encoder == "adapted" else None
        rows = stages.embedded([p.case_id for p in labels], used)
        known = stages.embedded(stages.labeled_cases(given), used)
        found = selective.distances(rows, known)
        distance = {p.case_id: float(d) for p, d in zip(labels, found, strict=True)}
        furthest = selective.furthest_of(known, how.reach)
    share = how.share_at(given.turn, stages.config.turns)
    confidence = {p.case_id: p.confidence for p in labels}
    passed = selective.reliable(confidence, distance, how, share, furthest)
    return [replace(p, confidence=passed.weights[p.case_id])
            for p in labels if p.case_id in passed.cases]  # fmt: skip


def _of_fitting_size(
    stages: Stages, given: Given, labels: Sequence[PseudoLabels], limits: tuple[float, float]
) -> list[PseudoLabels]:
    classes = range(1, stages.num_classes)
    known = np.array([_sizes(mask, classes) for mask in stages.masks(given)])
    predicted = [_sizes(p.load().argmax(axis=0), classes) for p in labels]
    return [
        p for p, volumes in zip(labels, predicted, strict=True)
        if selective.sizes_fit(np.array(volumes), known, limits)
    ]  # fmt: skip


def _sizes(labels: np.ndarray, classes: range) -> list[float]:
    return [float((labels == c).sum()) for c in classes]


def _agreeing(
    stages: Stages, given: Given, labels: Sequence[PseudoLabels]
) -> tuple[list[PseudoLabels], dict[str, Any]]:
    """Cases that agree enough with the supervised student, and how far all of them do."""
    dice = stages.agreement(given, labels)
    values = [dice[p.case_id] for p in labels]
    told = {
        "agreement_mean": round(float(np.mean(values)), 6),
        "agreement_min": round(float(np.min(values)), 6),
    }
    return [p for p in labels if dice[p.case_id] >= stages.config.gate.agreement], told


def _masked(stages: Stages, given: Given, labels: Sequence[PseudoLabels]) -> list[PseudoLabels]:
    """Pseudo-labels with 0 at the voxels that are not believed; unchanged where all are."""
    config = stages.config
    if not labels or not (config.gate.voxels or config.selective.voxels):
        return list(labels)
    least = None
    if config.selective.voxels:
        least = selective.class_thresholds([p.load() for p in labels], config.selective)
    others: dict[CaseId, PseudoLabels] = {}
    if config.gate.voxels:
        others = stages.supervised_predictions(given, [p.case_id for p in labels])
    return [stages.masked(p, least, others.get(p.case_id)) for p in labels]
