"""DTC: a segmentation and a signed distance say the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from loops.ssl.registry import Host, Part, Plan, Step, register
from salearn.cases import IGNORE
from salearn.data.regions import Absent, signed_distance
from salearn.losses import segmentation_loss, sigmoid_ramp
from salearn.models.heads import distance_head
from salearn.settings import Field, settings


@register("dtc")
@settings
class DualTask(Host):
    """A second head gives signed distances z; sigmoid(-k z) must equal the probabilities.

    Labeled: supervised loss of the segmentation, and `distance_weight` times the squared error of z
    against distances of the mask. All crops: the mean squared difference between sigmoid(-k z) and
    the softmax of the foreground classes, gradient to both heads.

    Attributes:
        weight, ramp: of the agreement between the heads (1.0 in the reference).
        distance_weight: 0.3 in the reference.
        steepness: k, 1500 in the reference.
        absent: distances of a class that the crop does not show, see `signed_distance`.
    """

    SOURCE: ClassVar[str] = "Luo et al. 2021 (DTC); softmax and several classes are ours"
    weight: float = Field(default=1.0, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    distance_weight: float = Field(default=0.3, ge=0)
    steepness: float = Field(default=1500.0, gt=0)
    absent: Absent = "outside"

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """The distance head."""
        return {"distance": Part(net=distance_head(plan.net.width, plan.num_classes))}

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Supervised, distance and, with unlabeled crops, agreement."""
        logits, distance = self._heads(step, step.image)
        known = (step.mask != IGNORE).unsqueeze(1).expand_as(distance).float()
        true = signed_distance(step.mask, logits.shape[1], self.absent)
        error = ((distance - true).square() * known).sum() / known.sum().clamp_min(1)
        terms = {
            "supervised": segmentation_loss(logits, step.mask),
            "distance": self.distance_weight * error,
        }
        if step.weak is None:
            return terms
        gaps = torch.cat([self.gap(logits, distance), self.gap(*self._heads(step, step.weak))])
        step.log["gap"] = float(gaps.detach().mean())
        terms["agreement"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * gaps.mean()
        return terms

    def gap(self, logits: Tensor, distance: Tensor) -> Tensor:
        """Squared difference between the two heads."""
        inside = torch.sigmoid(-self.steepness * distance)
        return (inside - torch.softmax(logits, 1)[:, 1:]).square()

    def _heads(self, step: Step, image: Tensor) -> tuple[Tensor, Tensor]:
        trace = step.student.trace(image)
        return trace.logits, step.part("distance", trace.decoded[0])
