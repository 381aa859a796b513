"""Student and teacher as two sets of trained tensors on one frozen base."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from salearn.errors import ConfigError
from salearn.models.lora import trainable
from salearn.models.sam3 import Sam
from salearn.settings import Field, settings


@settings
class TeacherSettings:
    """The running mean of what an arm trains; it is what is saved and used afterwards.

    Attributes:
        decay: upper end of a in: mean = a mean + (1 - a) student, after every update.
    """

    decay: float = Field(default=0.99, ge=0, lt=1)


class SamPair:
    """An adapted SAM3 that is trained, and a teacher whose trained tensors follow it.

    Every frozen tensor is shared, so the base is held once; the teacher costs one more adapter.
    a = min(1 - 1/(t + 1), decay) at update t = 0, 1, ..., as in `salearn.models.ema.Ema`: the
    first update is a copy.

    Attributes:
        student: as it was given.
        teacher: never trained. Its tensors ask for gradients because that marks what an arm owns
            and saves; no loss may be taken of it.

    Raises:
        ConfigError: the arm trains nothing.

    Source: mean teacher (Tarvainen and Valpola 2017) on the adapter alone.
    """

    def __init__(self, student: Sam, given: TeacherSettings) -> None:
        self._mine = trainable(student)
        if not self._mine:
            raise ConfigError(
                "finetune.teacher: the arm trains nothing that a mean could be taken of; leave it "
                "out, or choose another arm than zero_shot"
            )
        own = {id(parameter) for parameter in self._mine.values()}
        tensors = (*student.parameters(), *student.buffers())
        shared: dict[int, Any] = {id(t): t for t in tensors if id(t) not in own}
        self.student, self.teacher = student, copy.deepcopy(student, shared).eval()
        self._theirs = trainable(self.teacher)
        self._decay, self.updates = given.decay, 0

    @property
    def own_bytes(self) -> int:
        """Of the teacher beyond the base that it shares."""
        return sum(p.numel() * p.element_size() for p in self._theirs.values())

    @torch.no_grad()
    def update(self) -> None:
        """Move the teacher towards the student; call once after each step of the optimiser."""
        alpha = min(1 - 1 / (self.updates + 1), self._decay)
        teacher: list[Tensor] = [self._theirs[name] for name in self._mine]
        student: list[Tensor] = list(self._mine.values())
        torch._foreach_lerp_(teacher, student, 1 - alpha)
        self.updates += 1

    def told(self) -> dict[str, Any]:
        """For the record."""
        return {"decay": self._decay, "updates": self.updates, "own_bytes": self.own_bytes}

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold beside the student."""
        tensors = {name: parameter.detach() for name, parameter in self._theirs.items()}
        return {"updates": self.updates, "tensors": tensors}

    @torch.no_grad()
    def load(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self.updates = int(state["updates"])
        for name, parameter in self._theirs.items():
            parameter.copy_(state["tensors"][name])
