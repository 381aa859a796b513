"""The contract of a semi-supervised host: the loss of one step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from salearn.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Step:
    """All that a host may use in one training step.

    Attributes:
        student: the network that is trained; returns logits.
        teacher: its EMA twin, no gradient, batch statistics as the student's; call it for logits.
        image, mask: labeled crops; mask value 255 is ignored.
        weak, strong: two views of the same unlabeled crops (None: there are none).
        progress: share of the training done, 0..1.
        generator: the only source of randomness.
    """

    student: nn.Module
    teacher: Callable[[Tensor], Tensor]
    image: Float[Tensor, "b channel x y z"]
    mask: Int[Tensor, "b x y z"]
    weak: Float[Tensor, "u channel x y z"] | None
    strong: Float[Tensor, "u channel x y z"] | None
    progress: float
    generator: Generator


@runtime_checkable
class Host(Protocol):
    """A frozen settings class; `terms` gives the weighted loss terms of one step.

    Attributes:
        unlabeled: whether it draws unlabeled crops.
        ema_decay: of the teacher; the teacher is kept and evaluated by the student stage.
    """

    unlabeled: bool
    ema_decay: float

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Named loss terms; their sum is minimised. "supervised" is always among them."""
        ...


HOSTS: Registry[Host] = Registry("loops.ssl", "host")
register = HOSTS.register
available = HOSTS.available
build = HOSTS.build
