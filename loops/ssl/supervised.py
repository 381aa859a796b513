"""Supervised only: the lower bound of every semi-supervised method."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from loops.ssl.registry import Host, Step, register
from salearn.losses import segmentation_loss
from salearn.settings import settings


@register("supervised")
@settings
class Supervised(Host):
    """Half cross-entropy, half Dice on the labeled crops, nothing else."""

    SOURCE: ClassVar[str] = "SFR eq. 5 (its labeled part); nnU-Net and UA-MT use the same loss"
    unlabeled: ClassVar[bool] = False

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term."""
        return {"supervised": segmentation_loss(step.student(step.image), step.mask)}
