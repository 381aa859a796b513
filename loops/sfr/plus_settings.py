"""Settings of SFR+: every point that the paper leaves open."""

from __future__ import annotations

from typing import Literal

from loops.sfr.confidence import SINGLE, PseudoSettings
from salearn.errors import ConfigError
from salearn.settings import Field, settings

SFR_PLUS_CONFIDENCE = PseudoSettings(estimator="volume", keep="threshold", threshold=0.985)


@settings
class SfrPlusSettings:
    """Turns between SAM3 and the student; learner "sfr_plus_" + host.

    A turn is called so because a round is one of the budget. Turn 0 is plain SFR. In each later
    one, cases whose prediction by the student of the turn before is reliable (C >= tau) go to
    SAM3's training, the others to the student's with SAM3's new pseudo-labels.

    Attributes:
        turns: all of them, turn 0 included.
        first: student whose confidence opens turn 1: that of plain SFR ("sfr"), or one that
            learned from masks alone ("supervised").
        reliable: confidence and the rule that parts reliable cases from the others. "agreement"
            compares with SAM3's pseudo-label; "calibrated" uses students of held-out folds.
        sample: what confidence is of: the "volume", or the "box" of the predicted foreground
            with a margin, which does not grow with the background around it.
        margin: of the box, voxels.
        stage: F_S is the "student" or its EMA "teacher".
        dropout_passes: predictions with dropout on that are averaged; 0 = dropout off.
        labels: what reliable cases are labeled with when SAM3 learns from them: the argmax of
            the "student", of "sam", or where both say the same ("agreed", void elsewhere).
        voxel_threshold: voxels of a lower student probability are void for SAM3, 0..1.
        balance: "none" = most confident cases first; "class" = the surest case of each class in
            turn, so that an easy class does not take every place. Matters below `most`.
        most: reliable cases used at most, per labeled case; None = all.
        sam, student: whether the module goes on from the turn before or restarts.
        optimiser: of a module that goes on: "fresh", or with its moments "carried" over. The
            learning rate runs through its schedule anew in every turn.
        sam_iterations, student_iterations: in turns after the first; None = as configured.
        keep_high: pseudo-label that a reliable case keeps in re-training: "none", the new one of
            "sam", or the one of the "student" before.
        if_none: no case is reliable: "stop" with the turn before, take the "best" one, or
            "go_on" with SAM3 trained on the masks alone.
        if_all: no case is left for re-training: "keep" the pseudo-labels of all (from SAM3 if
            keep_high is none), "go_on" without any, or "stop".
        measure_turns: score SAM3 and student of every turn, not only of the last.

    Source: SFR+ eq. 8 (tau = 0.985); open points as listed in sfr.md 1.5 (reference notes).
    """

    turns: int = Field(default=2, ge=2)
    first: Literal["sfr", "supervised"] = "sfr"
    reliable: PseudoSettings = SFR_PLUS_CONFIDENCE
    sample: Literal["volume", "box"] = "volume"
    margin: int = Field(default=4, ge=0)
    stage: Literal["student", "teacher"] = "student"
    dropout_passes: int = Field(default=0, ge=0)
    labels: Literal["student", "sam", "agreed"] = "student"
    voxel_threshold: float = Field(default=0.0, ge=0, le=1)
    balance: Literal["none", "class"] = "none"
    most: float | None = Field(default=None, gt=0)
    sam: Literal["continue", "restart"] = "continue"
    student: Literal["continue", "restart"] = "restart"
    optimiser: Literal["fresh", "carried"] = "fresh"
    sam_iterations: int | None = Field(default=None, ge=1)
    student_iterations: int | None = Field(default=None, ge=1)
    keep_high: Literal["none", "sam", "student"] = "none"
    if_none: Literal["stop", "best", "go_on"] = "stop"
    if_all: Literal["keep", "go_on", "stop"] = "keep"
    measure_turns: bool = True

    def __post_init__(self) -> None:
        if self.sample == "box" and self.reliable.estimator not in SINGLE:
            raise ConfigError(
                f"sfr_plus.sample=box goes with the estimators {', '.join(SINGLE)}, not with "
                f"sfr_plus.reliable.estimator={self.reliable.estimator}"
            )
        if self.reliable.source == "online":
            raise ConfigError("sfr_plus.reliable.source: whole volumes are rated; use store")
        if self.optimiser == "carried" and "continue" not in (self.sam, self.student):
            raise ConfigError(
                "sfr_plus.optimiser=carried: nothing goes on where both sam and student restart"
            )
