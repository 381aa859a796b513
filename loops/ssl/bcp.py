"""BCP: labeled and unlabeled crops are pasted into one another."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from loops.ssl.registry import Host, Plugged, Step, register
from salearn.cases import IGNORE
from salearn.data.mixing import cycled, partner, share_box, size_of
from salearn.data.regions import largest_components
from salearn.losses import segmentation_loss
from salearn.settings import Field, settings


@register("bcp")
@settings
class BidirectionalCopyPaste(Host):
    """Images mixed by a box; inside and outside of it have the loss of their own labels.

    For the first part of the training two labeled crops are mixed. Then the first half of the
    mixed images has a labeled crop outside the box and an unlabeled one inside, the other half the
    reverse, one box for all; unlabeled voxels learn the EMA teacher's labels with weight `alpha`.
    One batch and the mean over it, where the reference adds up two batches; no best weights are
    picked between the parts.

    Attributes:
        alpha: weight of unlabeled voxels.
        box: sides of the box as a share of the crop's.
        pretrain: share of the training on labeled crops alone (2,000 of 17,000 iterations on LA).
        largest: keep the largest component of each class of the teacher's labels.
        plug: SFR's pseudo-label on the unlabeled voxels of the mixed images (mixed as the teacher's
            labels are), or on the un-mixed weak crops.
        distinct: the labeled crops of a step come from different cases.
    """

    SOURCE: ClassVar[str] = "Bai et al. 2023 (BCP), LA protocol; house Dice form, one batch"
    alpha: float = Field(default=0.5, ge=0)
    box: float = Field(default=2 / 3, gt=0, lt=1)
    pretrain: float = Field(default=0.12, ge=0, le=1)
    largest: bool = True
    plug: Literal["mixed", "unmixed"] = "mixed"
    distinct: bool = False

    @property
    def distinct_cases(self) -> bool:
        """As set."""
        return self.distinct

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Labeled voxels of the mixed images, and unlabeled ones after the first part."""
        inside = share_box(size_of(step.image), self.box, step.generator).to(step.image.device)
        if step.weak is None or step.progress < self.pretrain:
            image = torch.where(inside > 0, partner(step.image), step.image)
            mask = torch.where(inside > 0, partner(step.mask), step.mask)
            return {"supervised": segmentation_loss(step.student(image), mask)}
        count = len(step.weak)
        first = (torch.arange(count, device=inside.device) < (count + 1) // 2).view(-1, 1, 1, 1)
        known = torch.where(first, 1 - inside, inside)  # where the labeled crop shows
        labels = self._labels(step, step.weak)
        mixed = torch.where(known.unsqueeze(1) > 0, cycled(step.image, count), step.weak)
        logits = step.student(mixed)
        step.memo["mixed"] = (logits, 1 - known)
        there = torch.where(known > 0, cycled(step.mask, count), IGNORE)
        pasted = torch.where(known > 0, IGNORE, labels)
        return {
            "supervised": segmentation_loss(logits, there),
            "copy_paste": self.alpha * segmentation_loss(logits, pasted),
        }

    def plugged(self, step: Step, image: Tensor) -> Plugged:
        """Mixed logits on unlabeled voxels; the un-mixed crops while only labeled are mixed."""
        if self.plug == "mixed" and "mixed" in step.memo:
            return [step.memo["mixed"]]
        return [(step.student(image), None)]

    def _labels(self, step: Step, weak: Float[Tensor, "u channel x y z"]) -> Int[Tensor, "u x y z"]:
        logits = step.teacher(weak)
        labels = logits.argmax(1)
        step.log["foreground"] = float((labels > 0).float().mean())
        return largest_components(labels, logits.shape[1]) if self.largest else labels
