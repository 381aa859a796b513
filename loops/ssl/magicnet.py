"""MagicNet: crops are cut into cubes, the cubes are exchanged, and everything is put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cross_entropy, pad

from loops.ssl.registry import Host, Part, Plan, Step, register
from salearn.cases import IGNORE
from salearn.data.mixing import cut, cycled, half_of_cubes, join, size_of
from salearn.errors import ConfigError
from salearn.losses import dice_loss, one_hot, segmentation_loss, sigmoid_ramp
from salearn.models.heads import Locator
from salearn.settings import Field, settings


@register("magicnet")
@settings
class MagicCubes(Host):
    """Labeled and unlabeled crops exchange half of their cubes; places stay as they are.

    Labeled crops are also learnt as they are. The logits of both mixtures are put back together:
    labeled voxels learn the mask, unlabeled ones the EMA teacher's labels (both Dice). Those are
    blended with what the teacher says of each cube alone, the more so the rarer the class that it
    sees in the whole crop. The encoder also tells from a lone cube of an unlabeled crop where it
    was.

    Attributes:
        recovered: share of the labeled crops put back together in the supervised term (the
            released code has one such Dice beside Dice and cross-entropy of whole crops, and one
            of lone cubes put together, which is left out here).
        weight, ramp: of the unlabeled Dice term.
        cubes: n of the n x n x n cubes; the crop's sides must be divisible by it.
        location_weight: of the cross-entropy of places.
        blend: whether the teacher's labels are blended with its answers on lone cubes.
    """

    SOURCE: ClassVar[str] = "Chen et al. 2023 (MagicNet); reconstruction: blending and places"
    recovered: float = Field(default=1 / 3, ge=0, le=1)
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    cubes: int = Field(default=2, ge=2)
    location_weight: float = Field(default=0.1, ge=0)
    blend: bool = True

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """The head that tells places."""
        if any(side % self.cubes for side in plan.patch):
            raise ConfigError(
                f"host magicnet cuts crops into {self.cubes} cubes a side: student.patch "
                f"{plan.patch} must be divisible by that"
            )
        width = plan.net.width << plan.net.depth
        return {"location": Part(net=Locator(width, self.cubes**3))}

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Labeled and unlabeled voxels of the exchanged cubes, and the places of cubes."""
        plain = segmentation_loss(step.student(step.image), step.mask)
        if step.weak is None:
            return {"supervised": plain}
        weak, count = step.weak, len(step.weak)
        labels = self._labels(step, weak)
        image = cycled(step.image, count)
        chosen = half_of_cubes(size_of(weak), self.cubes, count, step.generator).to(weak.device)
        mine = chosen.unsqueeze(1) > 0
        mixed = torch.cat([torch.where(mine, image, weak), torch.where(mine, weak, image)])
        one, two = step.student(mixed).chunk(2)
        labeled, unlabeled = torch.where(mine, one, two), torch.where(mine, two, one)
        soft, everywhere = torch.softmax(unlabeled, 1), torch.ones_like(chosen)
        dice = dice_loss(soft, one_hot(labels, soft.shape[1]), everywhere)
        return {
            "supervised": (1 - self.recovered) * plain
            + self.recovered * _dice(labeled, cycled(step.mask, count)),
            "magic": self.weight * sigmoid_ramp(step.progress, self.ramp) * dice,
            "location": self.location_weight * self._places(step, weak),
        }

    def _labels(self, step: Step, weak: Tensor) -> Tensor:
        whole = torch.softmax(step.teacher(weak), 1)
        if not self.blend:
            return whole.argmax(1)
        x, y, z = (side // self.cubes for side in size_of(weak))
        alone = step.teacher(self._padded(step, cut(weak, self.cubes)))[:, :, :x, :y, :z]
        lone = join(torch.softmax(alone, 1), self.cubes)
        share = rarity(whole).unsqueeze(1)
        blended = (1 - share) * whole + share * lone
        changed = blended.argmax(1) != whole.argmax(1)
        step.log["changed_by_blending"] = float(changed.float().mean())
        return blended.argmax(1)

    def _places(self, step: Step, weak: Tensor) -> Tensor:
        cubes = self._padded(step, cut(weak, self.cubes))
        logits = step.part("location", step.student.net.encode(cubes)[-1])
        places = torch.arange(self.cubes**3, device=weak.device).repeat(len(weak))
        step.log["places_right"] = float((logits.argmax(1) == places).float().mean())
        return cross_entropy(logits, places)

    def _padded(self, step: Step, cubes: Tensor) -> Tensor:
        """Cubes whose sides the V-Net accepts, their far borders repeated."""
        divisor = step.student.net.divisor
        ends = [end for side in cubes.shape[:1:-1] for end in (0, -side % divisor)]
        return pad(cubes, ends, mode="replicate")


def _dice(logits: Tensor, mask: Tensor) -> Tensor:
    known = mask != IGNORE
    hot = one_hot(mask * known, logits.shape[1])
    return dice_loss(torch.softmax(logits, 1), hot, known.float())


def rarity(soft: Float[Tensor, "u class x y z"]) -> Float[Tensor, "u x y z"]:
    """Half of 1 - (voxels of this class / voxels of the commonest), for each voxel's class."""
    labels = soft.argmax(1)
    counts = torch.bincount(labels.flatten(), minlength=soft.shape[1]).float()
    share: Tensor = 0.5 * (1 - counts / counts.max())
    return share[labels]
