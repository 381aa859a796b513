"""Mean Teacher: the student agrees with its moving average on noisy copies."""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from loops.ssl.registry import Host, Step, register
from salearn.data.augment import clipped_noise
from salearn.losses import consistency_mse, segmentation_loss, sigmoid_ramp
from salearn.settings import Field, settings


@register("mean_teacher")
@settings
class MeanTeacher(Host):
    """Supervised loss plus MSE between the softmaxes of student and noisy EMA teacher.

    The labeled and the unlabeled crops pass the networks separately: one joint batch shares its
    batch statistics and cost 0.2 Dice at four labels.

    Attributes:
        weight: of the consistency at the end of the ramp (the references' w_max).
        ramp: share of the training over which the weight rises; 1 = to the very end, which is
            what 40 steps of 150 iterations are in 6,000.
        noise: s.d. of the noise added to the teacher's input.
        noise_clip: the noise is held within +- this.
        consistency: on the unlabeled crops only (SSL4MIS), or on all (SFR).
        view: the unlabeled view the student sees; the teacher always sees the weak one.
    """

    SOURCE: ClassVar[str] = "Tarvainen & Valpola 2017; protocol of UA-MT and SFR (MSE, ramp, noise)"
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    noise: float = Field(default=0.1, ge=0)
    noise_clip: float = Field(default=0.2, ge=0)
    consistency: Literal["unlabeled", "all"] = "unlabeled"
    view: Literal["weak", "strong"] = "weak"

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term and, if there are unlabeled crops, the weighted consistency."""
        terms = {"supervised": segmentation_loss(step.student(step.image), step.mask)}
        if step.weak is None or step.strong is None:
            return terms
        seen = step.weak if self.view == "weak" else step.strong
        distance = self._distance(step, seen, step.weak)
        if self.consistency == "all":
            labeled = self._distance(step, step.image, step.image)
            share = len(step.image) / (len(step.image) + len(step.weak))
            distance = share * labeled + (1 - share) * distance
        terms["consistency"] = self.weight * sigmoid_ramp(step.progress, self.ramp) * distance
        return terms

    def _distance(self, step: Step, seen: Tensor, clean: Tensor) -> Tensor:
        noisy = clipped_noise(clean, self.noise, self.noise_clip, step.generator)
        teacher = step.teacher(noisy)
        return consistency_mse(step.student(seen), teacher)
