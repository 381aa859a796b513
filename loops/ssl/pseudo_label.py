"""The term that SFR adds to any host: stored pseudo-labels of unlabeled crops."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from salearn.losses import linear_decay, sigmoid_ramp, soft_segmentation_loss
from salearn.settings import Field, settings


@settings
class PseudoLossSettings:
    """L_pl = 1/2 (Dice + CE) of the student against a stored pseudo-label, and its weight.

    Attributes:
        weight: w_pl; 1 in SFR's code.
        schedule: constant (SFR's code), ramp (rising, see `sigmoid_ramp`) or decay (1 - progress).
        targets: hard = argmax (SFR's code), soft = the probabilities as stored.
        voxel_threshold: voxels whose greatest probability is lower are left out, 0..1.
        voxel_confidence: weight each voxel by its greatest probability.
        case_confidence: weight each crop by the confidence of its case.

    Source: SFR eq. 7; thresholds and weights are ours.
    """

    weight: float = Field(default=1.0, ge=0)
    schedule: Literal["constant", "ramp", "decay"] = "constant"
    targets: Literal["hard", "soft"] = "hard"
    voxel_threshold: float = Field(default=0.0, ge=0, le=1)
    voxel_confidence: bool = False
    case_confidence: bool = False

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
) -> Float[Tensor, ""]:
    """L_pl without its weight w_pl; 0 where no voxel is believed.

    Args:
        pseudo: probabilities of the voxels that the crop shows (all 0: there are none).
        weight: 0 outside the volume and for crops without pseudo-label.
        confidence: of each crop's case, 0..1.
    """
    # Interpolation and float16 leave sums a little off 1, and 0 where nothing is known.
    total = pseudo.sum(1, keepdim=True)
    target = pseudo / total.clamp_min(1e-6)
    greatest = target.amax(1)
    weight = weight * (total[:, 0] > 0.5) * (greatest >= settings.voxel_threshold)
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
