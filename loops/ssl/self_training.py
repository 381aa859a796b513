"""Self-training: the network learns its own labels, from some time on."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from loops.ssl.registry import Host, Step, register
from salearn.errors import ConfigError
from salearn.losses import one_hot, segmentation_loss, soft_segmentation_loss
from salearn.settings import Field, settings


@register("self_training")
@settings
class SelfTraining(Host):
    """Half cross-entropy, half Dice of the student against what it (or its EMA) predicts itself.

    The weight is 0 until `start`, rises in a straight line, and is `weight` from `full` on.

    Attributes:
        weight: of the term from `full` on.
        start, full: shares of the training.
        labels: whose predictions on the weak view, the teacher's or the student's own.
        targets: hard = argmax (Lee), soft = the probabilities.
        view: the unlabeled view that the student learns on.
    """

    SOURCE: ClassVar[str] = "Lee 2013 (Pseudo-Label); strong view, EMA labels and Dice are ours"
    weight: float = Field(default=1.0, ge=0)
    start: float = Field(default=0.2, ge=0, le=1)
    full: float = Field(default=0.8, ge=0, le=1)
    labels: Literal["teacher", "student"] = "teacher"
    targets: Literal["hard", "soft"] = "hard"
    view: Literal["weak", "strong"] = "strong"

    def __post_init__(self) -> None:
        if self.start >= self.full:
            raise ConfigError(f"start {self.start} must lie before full {self.full}")

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term and, once it has started, that of the own labels."""
        terms = {"supervised": segmentation_loss(step.student(step.image), step.mask)}
        views, weight = step.views(), self.weight_at(step.progress)
        if views is None or weight == 0:
            return terms
        weak, strong = views
        logits = step.teacher(weak) if self.labels == "teacher" else step.student(weak).detach()
        target = torch.softmax(logits, 1)
        step.log["confidence"] = float(target.amax(1).mean())
        if self.targets == "hard":
            target = one_hot(target.argmax(1), target.shape[1])
        seen = step.student(weak if self.view == "weak" else strong)
        terms["self"] = weight * soft_segmentation_loss(seen, target)
        return terms

    def weight_at(self, progress: float) -> float:
        """Weight of the own labels at a share of the training."""
        rise = (progress - self.start) / (self.full - self.start)
        return self.weight * min(max(rise, 0.0), 1.0)
