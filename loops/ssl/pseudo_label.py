"""The term that SFR adds to any host: pseudo-labels of unlabeled crops."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from salearn.losses import linear_decay, sigmoid_ramp, soft_segmentation_loss
from salearn.settings import Field, settings


@settings
class PseudoLossSettings:
    """L_pl = 1/2 (Dice + CE) of the student against a pseudo-label, and its weight.

    Attributes:
        weight: w_pl; 1 in SFR's code. `gate.weight` may choose another one.
        schedule: constant (SFR's code), ramp (rising, see `sigmoid_ramp`) or decay (1 - progress).
        targets: hard = argmax (SFR's code), soft = the probabilities as stored.
        void: voxels that no tile and no volume covers are "ignored", or taken for certain
            "background", which is what the released code makes of slices beyond its grid.
        voxel_threshold: voxels whose greatest probability is lower are left out, 0..1.
        voxel_confidence: weight each voxel by its greatest probability.
        case_confidence: weight each crop by the confidence of its case.
        agreement: keep only voxels where the EMA teacher, as it is at that step, predicts the
            class of the pseudo-label ("teacher"). Agreement with the supervised student is
            `gate.voxels`, which is fixed before the training.

    Source: SFR eq. 7; masks, thresholds and confidence weights are ours.
    """

    LATER: ClassVar[tuple[str, ...]] = ("void", "agreement")
    weight: float = Field(default=1.0, ge=0)
    schedule: Literal["constant", "ramp", "decay"] = "constant"
    targets: Literal["hard", "soft"] = "hard"
    void: Literal["ignored", "background"] = "ignored"
    voxel_threshold: float = Field(default=0.0, ge=0, le=1)
    voxel_confidence: bool = False
    case_confidence: bool = False
    agreement: Literal["off", "teacher"] = "off"

    def weight_at(self, progress: float) -> float:
        """w_pl at a share of the training, 0..1."""
        if self.schedule == "ramp":
            return self.weight * sigmoid_ramp(progress)
        return self.weight * (linear_decay(progress) if self.schedule == "decay" else 1.0)


def pseudo_loss(
    logits: Float[Tensor, "u class x y z"],
    pseudo: Float[Tensor, "u class x y z"],
    weight: Float[Tensor, "u x y z"],
    confidence: Float[Tensor, " u"],
    settings: PseudoLossSettings,
    teacher: Float[Tensor, "u class x y z"] | None = None,
) -> Float[Tensor, ""]:
    """L_pl without its weight w_pl; 0 where no voxel is believed.

    Args:
        pseudo: probabilities of the voxels that the crop shows (all 0: there are none).
        weight: 0 outside the volume and for crops without pseudo-label.
        confidence: of each crop's case, 0..1.
        teacher: logits or probabilities of the EMA teacher, if `agreement` asks for them.
    """
    target, weight = _believed(pseudo, weight, settings)
    greatest = target.amax(1)
    weight = weight * (greatest >= settings.voxel_threshold)
    if settings.agreement == "teacher" and teacher is not None:
        weight = weight * (teacher.argmax(1) == target.argmax(1))
    if settings.voxel_confidence:
        weight = weight * greatest
    if settings.targets == "hard":
        hard = target.argmax(1, keepdim=True)
        target = torch.zeros_like(target).scatter_(1, hard, 1.0)
    if not settings.case_confidence:
        return soft_segmentation_loss(logits, target, weight)
    # A factor common to all voxels would cancel in the mean, so each crop has a loss of its own.
    rows = range(len(logits))
    losses = [soft_segmentation_loss(logits[[i]], target[[i]], weight[[i]]) for i in rows]
    shown = (weight.flatten(1).sum(1) > 0).sum().clamp_min(1)
    return (torch.stack(losses) * confidence).sum() / shown


def _believed(
    pseudo: Float[Tensor, "u class x y z"],
    weight: Float[Tensor, "u x y z"],
    settings: PseudoLossSettings,
) -> tuple[Float[Tensor, "u class x y z"], Float[Tensor, "u x y z"]]:
    """Probabilities that sum to 1, and the weight with the void left out or made background."""
    # Interpolation and float16 leave sums a little off 1, and 0 where nothing is known.
    total = pseudo.sum(1, keepdim=True)
    target = pseudo / total.clamp_min(1e-6)
    known = total[:, 0] > 0.5
    if settings.void == "ignored":
        return target, weight * known
    background = torch.zeros_like(target)
    background[:, 0] = 1.0
    shown = known.flatten(1).any(1).view(-1, 1, 1, 1)  # a crop without pseudo-label stays out
    return torch.where(known.unsqueeze(1), target, background), torch.ones_like(weight) * shown
