"""FixMatch: what is certain on the weak view is learned on the strong one."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from loops.ssl.registry import Host, Step, register
from salearn.losses import (
    confident,
    one_hot,
    segmentation_loss,
    sigmoid_ramp,
    soft_segmentation_loss,
)
from salearn.settings import Field, settings


@register("fixmatch")
@settings
class FixMatch(Host):
    """Labels of the weak view where the greatest probability reaches the threshold, else ignored.

    The student on the strong view learns them by half cross-entropy (mean over kept voxels), half
    Dice (sums over kept voxels).

    Attributes:
        weight: lambda.
        ramp: share of the training over which the weight rises; 0 = constant (reference).
        threshold: tau.
        quantile: a class whose voxels are seldom so certain has its own, lower threshold: this
            quantile of their probabilities. None = tau for all classes.
        labels: whose predictions, the student's own (reference) or the EMA teacher's.
    """

    SOURCE: ClassVar[str] = "Sohn et al. 2020 (FixMatch); the 3-D form is ours"
    weight: float = Field(default=0.5, ge=0)
    ramp: float = Field(default=0.0, ge=0, le=1)
    threshold: float = Field(default=0.95, ge=0, le=1)
    quantile: float | None = Field(default=None, ge=0, le=1)
    labels: Literal["student", "teacher"] = "student"

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term and that of the accepted voxels."""
        terms = {"supervised": segmentation_loss(step.student(step.image), step.mask)}
        views = step.views()
        if views is None:
            return terms
        weak, strong = views
        logits = step.teacher(weak) if self.labels == "teacher" else step.student(weak).detach()
        soft = torch.softmax(logits, 1)
        labels, keep = self.accept(soft)
        self._report(step, labels, keep, soft.shape[1])
        loss = soft_segmentation_loss(step.student(strong), one_hot(labels, soft.shape[1]), keep)
        terms["fixmatch"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * loss
        return terms

    def accept(
        self, soft: Float[Tensor, "u class x y z"]
    ) -> tuple[Int[Tensor, "u x y z"], Float[Tensor, "u x y z"]]:
        """Labels and 1 where they are believed."""
        labels, keep = confident(soft, self.threshold)
        if self.quantile is None:
            return labels, keep
        greatest = soft.amax(1)
        for c in range(soft.shape[1]):
            mine = greatest[labels == c]
            if not len(mine):
                continue
            # Sorted and picked by hand: torch.quantile refuses more than 16 million values.
            place = min(int(self.quantile * len(mine)), len(mine) - 1)
            limit = min(self.threshold, float(mine.sort().values[place]))
            keep = torch.where(labels == c, (greatest >= limit).float(), keep)
        return labels, keep

    def _report(self, step: Step, labels: Tensor, keep: Tensor, num_classes: int) -> None:
        step.log["accepted"] = float(keep.mean())
        for c in range(num_classes):
            mine = (labels == c).float()
            step.log[f"accepted_{c}"] = float((mine * keep).sum() / mine.sum().clamp_min(1))
