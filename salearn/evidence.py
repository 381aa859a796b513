"""What a strategy may look at. Lazy: a strategy pays for what it asks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8

from salearn.cases import UnitId

Passes = Literal["views", "dropout"]  # of changed images, or of channels dropped


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

    def passes(self, unit: UnitId, kind: Passes) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """Class probabilities of each stochastic pass, one at a time: what disagreement is read of.

        "views" are those that `probabilities` averages; "dropout" draws channels that are dropped.
        How many there are is a setting of the run, at least two; the same unit gives the same.

        Raises:
            NotTrainedError: no segmenter has been trained yet (round 0).
            ConfigError: the settings of the run give fewer than two passes, or no dropout.
        """
        ...

    def extent(self, unit: UnitId) -> tuple[int, int, int]:
        """Voxels of a unit along x, y, z; 1 along the slice axis for a slice."""
        ...

    def audit_mask(self, unit: UnitId) -> UInt8[np.ndarray, "x y z"]:
        """The true mask of any unit, for marked upper bounds only (`ORACLE = True`).

        Every case that is opened is a line "audit" in the query log: never budget, never hidden.
        """
        ...

    def foreground(self, unit: UnitId) -> bool:
        """Whether the mask of a *labeled* unit shows any foreground.

        Raises:
            KeyError: the unit is not labeled.
        """
        ...
