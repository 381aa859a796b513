"""The mean teacher: an exponential moving average of a network, buffers included."""

from __future__ import annotations

import copy
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Ema:
    """A twin network whose weights follow the student: teacher = a teacher + (1 - a) student.

    a = min(1 - 1/(t + 1), decay) at update t = 0, 1, ...: the first update is a copy. Buffers with
    decimals (running statistics) are averaged like weights, counters are copied, so the teacher
    can be used in eval mode (UA-MT and SFR average parameters only).

    Args:
        student: the network that is trained.
        decay: upper end of a, 0..1.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.module = copy.deepcopy(student).requires_grad_(False).train()
        for part in self.module.modules():
            # Train mode normalises by batch statistics; momentum 0 keeps a forward pass from
            # writing them over the averaged ones.
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.momentum = 0.0

    @torch.no_grad()
    def __call__(self, image: Float[Tensor, "b channel x y z"]) -> Float[Tensor, "b class x y z"]:
        """Logits with batch statistics as the student's in training; no gradient."""
        logits: Tensor = self.module(image)
        return logits

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Move the teacher towards the student; call once after each optimiser step."""
        alpha = min(1 - 1 / (self.updates + 1), self.decay)
        mine, theirs = self.module.state_dict(), student.state_dict()
        names = [name for name, value in mine.items() if value.is_floating_point()]
        # lerp(teacher, student, 1 - a) for all tensors in one call.
        torch._foreach_lerp_([mine[n] for n in names], [theirs[n] for n in names], 1 - alpha)
        for name in mine.keys() - set(names):
            mine[name].copy_(theirs[name])
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Weights, buffers and the update counter."""
        return {"module": self.module.state_dict(), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict()`."""
        self.module.load_state_dict(state["module"])
        self.updates = int(state["updates"])
