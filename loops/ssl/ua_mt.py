"""UA-MT: Mean Teacher where the teacher is certain."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from loops.ssl.registry import Host, Step, register
from salearn.data.augment import clipped_noise
from salearn.losses import consistency_mse, entropy, segmentation_loss, sigmoid_ramp
from salearn.settings import Field, settings


@register("ua_mt")
@settings
class UncertaintyAware(Host):
    """Consistency with a noisy EMA teacher, on voxels of low entropy over several noisy passes.

    The entropy H of the mean softmax of `passes` teacher passes, each with noise of its own, must
    be below (start + (1 - start) ramp) ln K; there the squared difference between the student and
    one more noisy teacher pass is averaged over voxels and classes.

    Attributes:
        weight, ramp, noise, noise_clip: as in Mean Teacher.
        passes: teacher passes for the entropy; two at a time share a batch.
        start: share of ln K at which the threshold starts; it ends at 1.
    """

    SOURCE: ClassVar[str] = "Yu et al. 2019 (UA-MT); ln K in place of the ln 2 of its copies"
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    noise: float = Field(default=0.1, ge=0)
    noise_clip: float = Field(default=0.2, ge=0)
    passes: int = Field(default=8, ge=2, multiple_of=2)
    start: float = Field(default=0.75, ge=0, le=1)

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term and the consistency of certain voxels."""
        terms = {"supervised": segmentation_loss(step.student(step.image), step.mask)}
        if step.weak is None:
            return terms
        target = step.teacher(self._noisy(step, step.weak))
        uncertainty = entropy(self._mean(step, step.weak))
        keep = (uncertainty < self.threshold(step.progress, target.shape[1])).float()
        distance = consistency_mse(step.student(step.weak), target, keep)
        step.log["uncertainty"] = float(uncertainty.mean())
        step.log["kept"] = float(keep.mean())
        terms["consistency"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * distance
        return terms

    def threshold(self, progress: float, num_classes: int) -> float:
        """Entropy below which a voxel counts, nats."""
        share = self.start + (1 - self.start) * sigmoid_ramp(progress)
        return share * math.log(num_classes)

    def _mean(self, step: Step, weak: Tensor) -> Float[Tensor, "u class x y z"]:
        double = weak.repeat(2, 1, 1, 1, 1)
        passes = [
            half
            for _ in range(self.passes // 2)
            for half in torch.softmax(step.teacher(self._noisy(step, double)), 1).chunk(2)
        ]
        return torch.stack(passes).mean(0)

    def _noisy(self, step: Step, image: Tensor) -> Tensor:
        return clipped_noise(image, self.noise, self.noise_clip, step.generator)
