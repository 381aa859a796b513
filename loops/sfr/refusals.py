"""Settings of pseudo-labels that exclude one another, refused before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loops.adaptation.settings import AdaptationSettings
from loops.tuning.checks import refuse_unfit
from salearn.errors import ConfigError

if TYPE_CHECKING:
    from loops.config import RunConfig


def refuse_conflicts(config: RunConfig) -> None:
    """Check what single sections cannot see.

    Raises:
        ConfigError: two settings that cannot both be meant; the message names both.
    """
    clashes = _online(config), _void(config), _dropout(config), _weighted(config), _alone(config)
    for clash in (*clashes, _carried(config)):
        if clash:
            raise ConfigError(clash)
    trains = config.arm.get("name") != "zero_shot"
    refuse_unfit(config.sam, config.finetune, config.finetune.mining, trains)


def _online(config: RunConfig) -> str | None:
    if config.pseudo.source != "online":
        return None
    if config.plus:
        return "pseudo.source=online: SFR+ rates whole volumes; use pseudo.source=store"
    gated = config.gate.agrees or config.gate.weight == "search" or config.selective.mode != "all"
    masked = config.selective.voxels or config.selective.weighted or config.selective.size
    if gated or masked or config.pseudo_loss.case_confidence:
        return (
            "pseudo.source=online labels crops as they are drawn, so there are no cases to gate: "
            "use pseudo.source=store, or leave gate, selective and pseudo_loss.case_confidence "
            "at their defaults (pseudo_loss.voxel_threshold and .agreement work online too)"
        )
    return None


def _void(config: RunConfig) -> str | None:
    if config.pseudo_loss.void == "background" and (config.gate.voxels or config.selective.voxels):
        return (
            "pseudo_loss.void=background would turn voxels that gate.voxels or selective.voxels "
            "refuse into background; use pseudo_loss.void=ignored"
        )
    return None


def _dropout(config: RunConfig) -> str | None:
    if config.plus and config.sfr_plus.dropout_passes and not config.student.dropout:
        return (
            "sfr_plus.dropout_passes needs a student trained with dropout: set student.dropout, "
            "or sfr_plus.dropout_passes=0"
        )
    return None


def _weighted(config: RunConfig) -> str | None:
    if config.selective.weighted and not config.pseudo_loss.case_confidence:
        return (
            "selective.weighted changes the confidence of cases, which the loss does not read: "
            "set pseudo_loss.case_confidence=true as well"
        )
    return None


def _carried(config: RunConfig) -> str | None:
    plus = config.sfr_plus
    goes_on = config.plus and plus.sam == "continue" and plus.optimiser == "carried"
    if goes_on and config.finetune.teacher:
        return (
            "finetune.teacher saves the mean of the weights, and sfr_plus.optimiser=carried would "
            "go on with moments of others: use optimiser=fresh, or leave the teacher out"
        )
    return None


def _alone(config: RunConfig) -> str | None:
    if config.alone or config.adaptation == AdaptationSettings():
        return None
    return (
        f"adaptation: is read by learner=sam, and learner is {config.learner_name}; leave the "
        "section out, or set learner=sam"
    )
