"""The contract of a semi-supervised host: the loss of one step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from loops.ssl.step import Part, Plan, Step
from salearn.registry import Registry
from salearn.settings import Field, settings

__all__ = ["HOSTS", "Host", "Part", "Plan", "Step", "available", "build", "register"]

# Logits of unlabeled crops, and the weight of their voxels (None = 1 everywhere).
Plugged = list[tuple[Tensor, Tensor | None]]


@settings
class Host:
    """A frozen settings class; `terms` gives the weighted loss terms of one step.

    A host needs `SOURCE`, its settings and `terms`. The other methods are for hosts that train
    more networks than the student, or that take pseudo-labels in their own way.

    Attributes:
        unlabeled: whether it draws unlabeled crops.
        splittable: whether its networks may see a batch in portions when a card is full; a host
            whose own networks look across the batch says False.
        ema_decay: of the teacher, which is kept and evaluated whatever the host; 0.99 in the
            references at 6,000 iterations, 0.97 suits a few hundred.
    """

    SOURCE: ClassVar[str] = ""
    unlabeled: ClassVar[bool] = True
    splittable: ClassVar[bool] = True
    ema_decay: float = Field(default=0.97, ge=0, lt=1)

    @property
    def distinct_cases(self) -> bool:
        """Whether the labeled crops of a step must come from different cases."""
        return False

    def terms(self, step: Step) -> dict[str, Tensor]:
        """Named loss terms; their sum is minimised. "supervised" is always among them.

        Without unlabeled crops only terms of the labeled ones are left.
        """
        raise NotImplementedError(f"{type(self).__name__} has no terms")

    def parts(self, plan: Plan) -> Mapping[str, Part]:
        """Networks that are trained beside the student, by name; none unless overridden.

        Raises:
            ConfigError: the host cannot work on this task.
        """
        return {}

    def plugged(self, step: Step, image: Tensor) -> Plugged:
        """What a pseudo-label is compared with: the student on the un-mixed weak crops.

        Called after `terms` of the same step; several entries are added up.

        Source: SFR's plug-in rule, see docs/hosts.md.
        """
        return [(step.student(image), None)]


HOSTS: Registry[Host] = Registry("loops.ssl", "host")
register = HOSTS.register
available = HOSTS.available
build = HOSTS.build
