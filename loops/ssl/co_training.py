"""Co-training of a 2-D and a 3-D network, in the manner of M&N."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor

from loops.ssl.registry import Host, Part, Plan, Plugged, Step, register
from salearn.losses import segmentation_loss, soft_segmentation_loss
from salearn.models.checkpoint import load_weights
from salearn.models.slicenet import SliceNet
from salearn.settings import Field, settings


@register("co_training")
@settings
class CoTraining(Host):
    """A 2-D U-Net over slices and the 3-D V-Net learn masks, then each other's soft labels too.

    Each learns the softmax of the other (no gradient to it) by half cross-entropy, half Dice: the
    gradient of Dice + KL. The weight rises in a straight line from `start` to the end, in place of
    M&N's growing share of pseudo-labels in the batch; both learn in every step, where M&N take
    turns. The 2-D network is small and starts from random weights unless `weights` names a file
    (M&N: a pre-trained SegFormer with LoRA). It is saved as `slices.safetensors`.

    Attributes:
        weight: at the end of the training.
        start: share of the training on masks alone (500 of 4,000 epochs in M&N).
        axis: 0, 1, 2 = slices across x, y, z.
        width: channels of the 2-D network's first level; None = as many as the student's.
        rate: its learning rate as a multiple of the student's.
        weights: safetensors of such a 2-D network that has been trained elsewhere.
    """

    SOURCE: ClassVar[str] = "M&N (mutual learning of a 2-D and a 3-D network); reconstruction"
    weight: float = Field(default=1.0, ge=0)
    start: float = Field(default=0.125, ge=0, lt=1)
    axis: Literal[0, 1, 2] = 2
    width: int | None = Field(default=None, ge=1)
    rate: float = Field(default=1.0, gt=0)
    weights: str | None = None

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """The 2-D network."""
        width = self.width or plan.net.width
        net = SliceNet(plan.channels, plan.num_classes, width, plan.net.depth, self.axis)
        if self.weights is not None:
            load_weights(net, Path(self.weights))
        return {"slices": Part(net=net, rate=self.rate, saved=True)}

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Two supervised terms and, from `start` on, what each learns from the other."""
        terms = {
            "supervised": segmentation_loss(step.student(step.image), step.mask),
            "supervised_slices": segmentation_loss(step.part("slices", step.image), step.mask),
        }
        weight = self.weight_at(step.progress)
        if step.weak is None or weight == 0:
            return terms
        volume, slices = step.student(step.weak), step.part("slices", step.weak)
        step.memo["slices"] = slices
        step.log["agreement"] = float((volume.argmax(1) == slices.argmax(1)).float().mean())
        for name, learner, other in (
            ("from_slices", volume, slices),
            ("to_slices", slices, volume),
        ):
            target = torch.softmax(other.detach(), 1)
            terms[name] = weight * soft_segmentation_loss(learner, target)
        return terms

    def weight_at(self, progress: float) -> float:
        """Weight of the mutual terms at a share of the training."""
        return self.weight * max(0.0, (progress - self.start) / (1 - self.start))

    def plugged(self, step: Step, image: Tensor) -> Plugged:
        """Both networks."""
        slices = step.memo.get("slices")
        other = step.part("slices", image) if slices is None else slices
        return [(step.student(image), None), (other, None)]
