"""CPS: two networks learn each other's labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from loops.ssl.registry import Host, Part, Plan, Plugged, Step, register
from salearn.losses import segmentation_loss, sigmoid_ramp
from salearn.models.vnet import VNet
from salearn.settings import Field, settings


@register("cps")
@settings
class CrossPseudoSupervision(Host):
    """Both networks: supervised loss, and cross-entropy against the argmax of the other one.

    The second V-Net starts from Xavier weights and has an optimiser of its own; it is saved as
    `second.safetensors`. The EMA teacher follows the first.

    Attributes:
        weight, ramp: of the cross term (SSL4MIS: 0.1; the original: 1.5 without a ramp).
        crops: on unlabeled crops only (SSL4MIS) or on all (original).
    """

    SOURCE: ClassVar[str] = "Chen et al. 2021 (CPS); 3-D protocol of SSL4MIS"
    weight: float = Field(default=0.1, ge=0)
    ramp: float = Field(default=1.0, ge=0, le=1)
    crops: Literal["unlabeled", "all"] = "unlabeled"

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """The second V-Net."""
        net = VNet(plan.channels, plan.num_classes, plan.net)
        for module in net.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.xavier_normal_(module.weight)
        return {"second": Part(net=net, saved=True)}

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Two supervised terms and the cross term."""
        one, two = step.student(step.image), step.part("second", step.image)
        terms = {
            "supervised": segmentation_loss(one, step.mask),
            "supervised_second": segmentation_loss(two, step.mask),
        }
        if step.weak is None:
            return terms
        pairs = [(step.student(step.weak), step.part("second", step.weak))]
        step.memo["second"] = pairs[0][1]
        agree = (pairs[0][0].argmax(1) == pairs[0][1].argmax(1)).float().mean()
        step.log["agreement"] = float(agree)
        if self.crops == "all":
            pairs.append((one, two))
        losses = [cross_entropy(a, b.argmax(1)) + cross_entropy(b, a.argmax(1)) for a, b in pairs]
        weight = self.weight * sigmoid_ramp(step.progress, self.ramp)
        terms["cross"] = weight * torch.stack(losses).mean()
        return terms

    def plugged(self, step: Step, image: Tensor) -> Plugged:
        """Both networks."""
        return [(step.student(image), None), (step.memo["second"], None)]
