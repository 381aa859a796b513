"""AC-MT: Mean Teacher where the student is in doubt."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor

from loops.ssl.registry import Host, Step, register
from salearn.data.augment import clipped_noise
from salearn.losses import consistency_mse, entropy, segmentation_loss, sigmoid_ramp
from salearn.settings import Field, settings


@register("ac_mt")
@settings
class AmbiguityConsensus(Host):
    """Consistency with a noisy EMA teacher, on voxels where the student's entropy is high.

    The entropy of the student's softmax over ln K must reach start + (end - start) ramp; there the
    squared difference to the teacher is averaged over voxels and classes. The other selections of
    the paper (model uncertainty, label noise) are not built.

    Attributes:
        weight, noise, noise_clip: as in Mean Teacher.
        ramp: 6,000 of 8,000 iterations in the reference.
        start, end: of the threshold, shares of ln K.
    """

    SOURCE: ClassVar[str] = "Xu et al. 2023 (AC-MT), its entropy selection; reconstruction"
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=0.75, ge=0, le=1)
    noise: float = Field(default=0.1, ge=0)
    noise_clip: float = Field(default=0.2, ge=0)
    start: float = Field(default=0.75, ge=0, le=1)
    end: float = Field(default=0.95, ge=0, le=1)

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term and the consistency of ambiguous voxels."""
        terms = {"supervised": segmentation_loss(step.student(step.image), step.mask)}
        if step.weak is None:
            return terms
        noisy = clipped_noise(step.weak, self.noise, self.noise_clip, step.generator)
        target = step.teacher(noisy)
        logits = step.student(step.weak)
        doubt = entropy(torch.softmax(logits.detach(), 1)) / math.log(logits.shape[1])
        keep = (doubt >= self.threshold(step.progress)).float()
        step.log["uncertainty"] = float(doubt.mean())
        step.log["kept"] = float(keep.mean())
        weight = self.weight * sigmoid_ramp(step.progress, self.ramp)
        terms["consistency"] = weight * consistency_mse(logits, target, keep)
        return terms

    def threshold(self, progress: float) -> float:
        """Share of ln K from which a voxel counts as ambiguous."""
        return self.start + (self.end - self.start) * sigmoid_ramp(progress)
