"""URPC: the predictions of all decoder levels agree, more so where they are certain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from loops.ssl.registry import Host, Part, Plan, Step, register
from salearn.errors import ConfigError
from salearn.losses import segmentation_loss, sigmoid_ramp
from salearn.models.heads import SideHead
from salearn.settings import Field, settings


@register("urpc")
@settings
class PyramidConsistency(Host):
    """Side heads on the coarser decoder levels; each level is pulled to the mean of all.

    Labeled: the supervised loss, mean over levels. Unlabeled, for each level s with probabilities
    p_s and the mean p: D = sum_c p ln(p / p_s); the term is
    mean((p_s - p)^2 exp(-D)) / mean exp(-D) + mean D, mean over levels. The finest level predicts.

    Attributes:
        weight, ramp: of the consistency.
        dropout: before the side heads, coarsest first; the last one is repeated if there are
            more levels.
    """

    SOURCE: ClassVar[str] = "Luo et al. 2022 (URPC); settings of SSL4MIS"
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    dropout: tuple[float, ...] = Field(default=(0.5, 0.3, 0.2), min_length=1)

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """One side head for each decoder level but the finest."""
        if plan.net.depth < 2:
            raise ConfigError("host urpc needs a pyramid: set student.depth to 2 or more")
        coarsest = plan.net.depth - 1
        return {
            f"level_{level}": Part(
                net=SideHead(
                    plan.net.width << level,
                    plan.num_classes,
                    1 << level,
                    self.dropout[min(coarsest - level, len(self.dropout) - 1)],
                )
            )
            for level in range(1, plan.net.depth)
        }

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term of all levels and the rectified consistency."""
        losses = [segmentation_loss(x, step.mask) for x in self._levels(step, step.image)]
        terms = {"supervised": torch.stack(losses).mean()}
        if step.weak is None:
            return terms
        rectified, uncertainty = rectified_distance(self._levels(step, step.weak))
        step.log["uncertainty"] = float(uncertainty)
        terms["pyramid"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * rectified
        return terms

    def _levels(self, step: Step, image: Tensor) -> list[Tensor]:
        trace = step.student.trace(image)
        sides = [
            step.part(f"level_{level}", features)
            for level, features in enumerate(trace.decoded[1:], start=1)
        ]
        return [trace.logits, *sides]


def rectified_distance(logits: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """The term of all levels without its weight, and the mean of D (no gradient)."""
    log_p = [torch.log_softmax(x, 1) for x in logits]
    mean = torch.stack([x.exp() for x in log_p]).mean(0)
    losses, distances = [], []
    for x in log_p:
        d = (mean * ((mean + 1e-8).log() - x)).sum(1, keepdim=True)
        trust = torch.exp(-d)
        squares = ((x.exp() - mean).square() * trust).mean()
        losses.append(squares / (trust.mean() + 1e-8) + d.mean())
        distances.append(d.mean())
    return torch.stack(losses).mean(), torch.stack(distances).mean().detach()
