"""SASSNet: a critic cannot tell the shapes of unlabeled crops from those of labeled ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from loops.ssl.registry import Host, Part, Plan, Step, register
from salearn.cases import IGNORE
from salearn.data.regions import Absent, signed_distance
from salearn.losses import segmentation_loss, sigmoid_ramp
from salearn.models.heads import Critic, distance_head
from salearn.settings import Field, settings

LEVELS = 4  # convolutions of the critic, each halving the sides


@register("sassnet")
@settings
class ShapeAware(Host):
    """A head gives signed distances; a critic D judges them together with the image.

    Labeled: supervised loss and `distance_weight` times the squared error of the distances.
    Unlabeled: weight times the cross-entropy of D against "labeled", gradient to the student and
    its head only. D learns labeled = 1, unlabeled = 0 in the same step and sees the distances of
    this step (the reference: of the student after its update).

    Attributes:
        weight, ramp: of the adversarial term (0.01 for 16 labels, 0.015 for 8).
        distance_weight: 0.3 in the reference.
        critic_width: channels of its first level; 64 in the reference.
        critic_rate: its learning rate as a multiple of the student's (reference: Adam 1e-4 beside
            SGD 1e-2).
        absent: see `signed_distance`.
    """

    SOURCE: ClassVar[str] = "Li et al. 2020 (SASSNet); one simultaneous step is ours"
    weight: float = Field(default=0.01, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    distance_weight: float = Field(default=0.3, ge=0)
    critic_width: int = Field(default=16, ge=1)
    critic_rate: float = Field(default=0.1, gt=0)
    absent: Absent = "outside"

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """The distance head and the critic."""
        maps = plan.num_classes - 1
        levels = min(LEVELS, max(1, min(plan.patch).bit_length() - 1))
        critic = Critic(plan.channels, maps, self.critic_width, levels)
        return {
            "distance": Part(net=distance_head(plan.net.width, plan.num_classes)),
            "critic": Part(net=critic, rate=self.critic_rate),
        }

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Supervised, distance and, with unlabeled crops, both sides of the game."""
        logits, shape = self._heads(step, step.image)
        known = (step.mask != IGNORE).unsqueeze(1).expand_as(shape).float()
        true = signed_distance(step.mask, logits.shape[1], self.absent)
        error = ((shape - true).square() * known).sum() / known.sum().clamp_min(1)
        terms = {
            "supervised": segmentation_loss(logits, step.mask),
            "distance": self.distance_weight * error,
        }
        if step.weak is None:
            return terms
        _, other = self._heads(step, step.weak)
        fooled = _against(step.fixed("critic", other, step.weak), 1)
        terms["adversary"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * fooled
        real = step.part("critic", shape.detach(), step.image)
        fake = step.part("critic", other.detach(), step.weak)
        terms["critic"] = 0.5 * (_against(real, 1) + _against(fake, 0))
        right = torch.cat([real.argmax(1) == 1, fake.argmax(1) == 0])
        step.log["critic_right"] = float(right.float().mean())
        return terms

    def _heads(self, step: Step, image: Tensor) -> tuple[Tensor, Tensor]:
        trace = step.student.trace(image)
        return trace.logits, step.part("distance", trace.decoded[0])


def _against(logits: Tensor, kind: int) -> Tensor:
    return cross_entropy(logits, torch.full((len(logits),), kind, device=logits.device))
