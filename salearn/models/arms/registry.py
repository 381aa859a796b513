"""The contract of an arm, and how a file becomes one."""

from __future__ import annotations

from typing import ClassVar, Protocol, runtime_checkable

from salearn.models.sam3 import Sam
from salearn.registry import Registry


@runtime_checkable
class Arm(Protocol):
    """A frozen settings class that says what of SAM3 is trained.

    Attributes:
        RATES: learning rates to try at real size; every arm has three, so that none is favoured.
    """

    RATES: ClassVar[tuple[float, float, float]]

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin of the base in which exactly the arm's parameters ask for gradients.

        A fresh arm changes no output; the base is left as it is.
        """
        ...


ARMS: Registry[Arm] = Registry("salearn.models.arms", "arm")
register = ARMS.register
available = ARMS.available
build = ARMS.build
