"""UniMatch: FixMatch with two strong views, boxes between crops, and disturbed features."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Generator, Tensor

from loops.ssl.registry import Host, Step, register
from salearn.data.mixing import partner, size_of, volume_box
from salearn.losses import confident, dice_loss, one_hot, segmentation_loss
from salearn.settings import Field, settings


@register("unimatch")
@settings
class UniMatch(Host):
    """Certain labels of the weak view teach two strong views and one of disturbed features.

    L = L_sup + 1/4 L_s1 + 1/4 L_s2 + 1/2 L_fp, each an L Dice over accepted voxels; the reference
    halves the whole. Each strong view has, with probability `box_chance`, a box pasted from the
    neighbour in the batch, labels and acceptance with it (the reference draws a second batch).
    L_fp drops each channel of each encoder level with probability `feature_dropout`; it is a pass
    of its own, where the reference doubles the batch. Strong intensities are the house's: no blur
    and no low resolution.

    Attributes:
        weight: of the three unlabeled terms together.
        threshold: tau.
        box_low, box_high: share of the volume that a box takes.
        box_stretch: sides of a box are stretched by up to this factor.
    """

    SOURCE: ClassVar[str] = "Yang et al. 2023 (UniMatch, medical protocol); 3-D form reconstructed"
    weight: float = Field(default=1.0, ge=0)
    threshold: float = Field(default=0.95, ge=0, le=1)
    box_chance: float = Field(default=0.5, ge=0, le=1)
    box_low: float = Field(default=0.02, gt=0, le=1)
    box_high: float = Field(default=0.4, gt=0, le=1)
    box_stretch: float = Field(default=1.8, ge=1)
    feature_dropout: float = Field(default=0.5, ge=0, lt=1)

    def terms(self, step: Step) -> dict[str, Tensor]:
        """The supervised term, two of strong views, one of disturbed features."""
        terms = {"supervised": segmentation_loss(step.student(step.image), step.mask)}
        views = step.views()
        if views is None:
            return terms
        weak, strong = views
        trace = step.student.trace(weak)
        labels, keep = confident(torch.softmax(trace.logits.detach(), 1), self.threshold)
        hot = one_hot(labels, trace.logits.shape[1])
        step.log["accepted"] = float(keep.mean())
        for name, view in (("strong_1", strong), ("strong_2", step.restyle(weak))):
            terms[name] = 0.25 * self.weight * self._pasted(step, view, hot, keep)
        dropped = [_drop(x, self.feature_dropout, step.generator) for x in trace.encoded]
        soft = torch.softmax(step.student.decode(dropped), 1)
        terms["features"] = 0.5 * self.weight * dice_loss(soft, hot, keep)
        return terms

    def _pasted(self, step: Step, view: Tensor, hot: Tensor, keep: Tensor) -> Tensor:
        inside = torch.stack([self._box(view, step.generator) for _ in view]).to(view.device)
        mixed, labels = (torch.where(inside.unsqueeze(1) > 0, partner(x), x) for x in (view, hot))
        believed = torch.where(inside > 0, partner(keep), keep)
        return dice_loss(torch.softmax(step.student(mixed), 1), labels, believed)

    def _box(self, view: Tensor, generator: Generator) -> Tensor:
        limits = (self.box_low, self.box_high, self.box_stretch)
        found = volume_box(size_of(view), *limits, generator)
        return found * (torch.rand((), generator=generator) < self.box_chance)


def _drop(features: Tensor, chance: float, generator: Generator) -> Tensor:
    """Channels zeroed at random, the others scaled up, from the host's generator."""
    kept = torch.rand(features.shape[:2], generator=generator) >= chance
    return features * (kept / (1 - chance)).to(features.device)[:, :, None, None, None]
