"""Supervised only: the lower bound of every semi-supervised method."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from loops.ssl.registry import Step, register
from salearn.losses import segmentation_loss
from salearn.settings import Field, settings


@register("supervised")
@settings
class Supervised:
    """Half cross-entropy, half Dice on the labeled crops, nothing else.

    Attributes:
        ema_decay: of the teacher, which is kept and evaluated here too.
    """

    SOURCE: ClassVar[str] = "SFR eq. 5 (its labeled part); nnU-Net and UA-MT use the same loss"
    unlabeled: ClassVar[bool] = False
    ema_decay: float = Field(default=0.97, ge=0, lt=1)

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term."""
        return {"supervised": segmentation_loss(step.student(step.image), step.mask)}
