"""MC-Net+: three decoders that grow in different ways learn each other's sharpened answers."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from loops.ssl.registry import Host, Part, Plan, Step, register
from salearn.losses import segmentation_loss, sigmoid_ramp
from salearn.models.vnet import Decoder
from salearn.settings import Field, settings


@register("mc_net")
@settings
class MutualConsistency(Host):
    """Decoders with transposed convolution, linear and nearest up-sampling on one encoder.

    Labeled: the supervised loss of each, added up (the reference has half the Dice of each and
    leaves cross-entropy out). All crops: mean squared difference between each decoder and the
    sharpened softmax of each other one (no gradient to it), added up over the six ordered pairs.
    The first decoder predicts.

    Attributes:
        weight: of the mutual consistency (1 in the reference).
        ramp: 6,000 of 15,000 iterations in the reference.
        temperature: of sharpening, p^(1/T) over its sum.
    """

    SOURCE: ClassVar[str] = "Wu et al. 2022 (MC-Net+); several classes and CE are ours"
    weight: float = Field(default=1.0, ge=0)
    ramp: float = Field(default=0.4, ge=0, le=1)
    temperature: float = Field(default=0.1, gt=0, le=1)

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """The second and the third decoder."""
        return {
            "linear": Part(net=Decoder(plan.num_classes, plan.net, "linear")),
            "nearest": Part(net=Decoder(plan.num_classes, plan.net, "nearest")),
        }

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Supervised terms of the decoders and the mutual one."""
        labeled = self._decoders(step, step.image)
        names = ("supervised", "supervised_linear", "supervised_nearest")
        terms = {
            name: segmentation_loss(x, step.mask) for name, x in zip(names, labeled, strict=True)
        }
        if step.weak is None:
            return terms
        unlabeled = self._decoders(step, step.weak)
        soft = [torch.softmax(torch.cat(pair), 1) for pair in zip(labeled, unlabeled, strict=True)]
        gaps = [
            (a - sharpened(b, self.temperature)).square().mean() for a, b in permutations(soft, 2)
        ]
        step.log["disagreement"] = float(torch.stack(soft).detach().std(0).mean())
        weight = self.weight * sigmoid_ramp(step.progress, self.ramp)
        terms["mutual"] = weight * torch.stack(gaps).sum()
        return terms

    def _decoders(self, step: Step, image: Tensor) -> list[Tensor]:
        trace = step.student.trace(image)
        return [trace.logits, *(step.part(n, trace.encoded) for n in ("linear", "nearest"))]


def sharpened(
    soft: Float[Tensor, "b class x y z"], temperature: float
) -> Float[Tensor, "b class x y z"]:
    """p^(1/T) over its sum, without gradient; by logarithms, as 0.1^10 leaves little of float32."""
    return torch.softmax((soft.detach() + 1e-8).log() / temperature, 1)
