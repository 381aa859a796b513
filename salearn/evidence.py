"""What a strategy may look at. Lazy: a strategy pays for what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from salearn.cases import UnitId


@runtime_checkable
class Evidence(Protocol):
    """Embeddings and predictions about the units of a pool, at one moment of the outer loop.

    Attributes:
        round: number of finished rounds; 0 = cold start, nothing is trained.
        adapted: a fine-tuned encoder exists, so `embeddings(..., adapted=True)` can be asked.
        trained: a segmenter exists, so `probabilities` can be asked.
    """

    round: int
    adapted: bool
    trained: bool

    def embeddings(
        self, units: Sequence[UnitId], adapted: bool = False
    ) -> Float[np.ndarray, "unit dim"]:
        """Unit-length rows from the frozen encoder (z0), or from the fine-tuned one (zt).

        Raises:
            NotTrainedError: adapted embeddings are asked for and none exist.
        """
        ...

    def view_embeddings(self, units: Sequence[UnitId]) -> Float[np.ndarray, "unit view dim"]:
        """Unit-length embeddings of label-preserving views of each unit, frozen encoder."""
        ...

    def reference_bank(self) -> Float[np.ndarray, "row dim"] | None:
        """Unit-length rows that stand for the pre-training data, or None."""
        ...

    def probabilities(self, unit: UnitId) -> Float[np.ndarray, "class x y z"]:
        """Mean class probabilities over stochastic views; class 0 = background.

        A slice unit has extent 1 along the slice axis.

        Raises:
            NotTrainedError: no segmenter has been trained yet (round 0).
        """
        ...

    def foreground(self, unit: UnitId) -> bool:
        """Whether the mask of a *labeled* unit shows any foreground.

        Raises:
            KeyError: the unit is not labeled.
        """
        ...
