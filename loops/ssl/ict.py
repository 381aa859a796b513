"""ICT: the student of a mixture says the mixture of what the teacher says."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor

from loops.ssl.registry import Host, Step, register
from salearn.data.mixing import partner
from salearn.losses import segmentation_loss, sigmoid_ramp
from salearn.settings import Field, settings


@register("ict")
@settings
class InterpolationConsistency(Host):
    """Two unlabeled crops a, b are mixed: student(l a + (1-l) b) = l teacher(a) + (1-l) teacher(b).

    Mean squared difference of softmaxes; l is drawn from Beta(beta, beta) once a step. The partner
    of a crop is its neighbour in the batch.

    Attributes:
        weight, ramp: of the consistency.
        beta: 0.2 in the reference; small values mix little.
    """

    SOURCE: ClassVar[str] = "Verma et al. 2019 (ICT); 3-D protocol of SSL4MIS"
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    beta: float = Field(default=0.2, gt=0)

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term and the consistency of mixtures."""
        terms = {"supervised": segmentation_loss(step.student(step.image), step.mask)}
        if step.weak is None:
            return terms
        share = beta_draw(self.beta, step.generator)
        step.log["share"] = share
        soft = torch.softmax(step.teacher(step.weak), 1)
        target = share * soft + (1 - share) * partner(soft)
        logits = step.student(share * step.weak + (1 - share) * partner(step.weak))
        distance = (torch.softmax(logits, 1) - target).square().mean()
        terms["consistency"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * distance
        return terms


def beta_draw(beta: float, generator: Generator) -> float:
    """A number from Beta(beta, beta); torch has no such draw from a generator of one's own."""
    seed = int(torch.randint(2**31, (), generator=generator))
    return float(np.random.default_rng(seed).beta(beta, beta))
