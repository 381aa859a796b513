"""CCT: decoders of disturbed features agree with the main one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Generator, Tensor

from loops.ssl.registry import Host, Part, Plan, Step, register
from salearn.losses import consistency_mse, segmentation_loss, sigmoid_ramp
from salearn.models.vnet import Decoder
from salearn.settings import Field, settings


@register("cct")
@settings
class CrossConsistency(Host):
    """Three more decoders, fed encoder features with noise, dropout and without the brightest.

    Labeled: the supervised loss, mean over the four decoders. Unlabeled: the mean squared
    difference between each of the three and the main decoder, which gets no gradient from it.

    Attributes:
        weight, ramp: of the consistency.
        noise: features are multiplied by 1 + U(-noise, noise).
        dropout: probability of dropping a channel.
        attention: places are zeroed whose mean over channels reaches a share, drawn from this
            range, of its maximum.
    """

    SOURCE: ClassVar[str] = "Ouali et al. 2020 (CCT), three disturbances of SSL4MIS; 3-D is ours"
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    noise: float = Field(default=0.3, ge=0)
    dropout: float = Field(default=0.3, ge=0, lt=1)
    attention: tuple[float, float] = (0.7, 0.9)

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """The three decoders."""
        return {
            name: Part(net=Decoder(plan.num_classes, plan.net)) for name in self._disturbances()
        }

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term of all decoders and the consistency."""
        main, others = self._decoders(step, step.image)
        losses = [segmentation_loss(x, step.mask) for x in (main, *others)]
        terms = {"supervised": torch.stack(losses).mean()}
        if step.weak is None:
            return terms
        main, others = self._decoders(step, step.weak)
        distance = torch.stack([consistency_mse(x, main) for x in others]).mean()
        terms["consistency"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * distance
        return terms

    def _decoders(self, step: Step, image: Tensor) -> tuple[Tensor, list[Tensor]]:
        trace = step.student.trace(image)
        others = [
            step.part(name, [disturb(x, step.generator) for x in trace.encoded])
            for name, disturb in self._disturbances().items()
        ]
        return trace.logits, others

    def _disturbances(self) -> dict[str, Callable[[Tensor, Generator], Tensor]]:
        return {"noise": self._noisy, "dropout": self._dropped, "attention": self._blinded}

    def _noisy(self, x: Tensor, generator: Generator) -> Tensor:
        factor = 1 + self.noise * (2 * torch.rand(x.shape, generator=generator) - 1)
        return x * factor.to(x.device)

    def _dropped(self, x: Tensor, generator: Generator) -> Tensor:
        kept = (torch.rand(x.shape[:2], generator=generator) >= self.dropout) / (1 - self.dropout)
        return x * kept.to(x.device)[:, :, None, None, None]

    def _blinded(self, x: Tensor, generator: Generator) -> Tensor:
        low, high = self.attention
        share = low + (high - low) * float(torch.rand((), generator=generator))
        bright = x.detach().mean(1, keepdim=True)
        return x * (bright < share * bright.amax(dim=(2, 3, 4), keepdim=True))
