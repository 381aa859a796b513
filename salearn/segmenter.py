"""What can segment: SAM3 with an adapter, the V-Net student, an ensemble."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from salearn.cases import CaseId


@runtime_checkable
class Segmenter(Protocol):
    """Class probabilities for whole volumes."""

    def predict(
        self, volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]]
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """Probabilities (class 0 = background, sum 1) in the order and on the grid of the input."""
        ...

    def save(self, path: Path) -> None:
        """Write everything needed to load the segmenter again into the folder `path`."""
        ...


@runtime_checkable
class DropoutSegmenter(Segmenter, Protocol):
    """A segmenter that can draw which channels it drops while it predicts."""

    def predict_dropout(
        self,
        volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]],
        rate: float | None,
        seed: int,
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """One stochastic pass, as `predict`; rate None = the rate of training.

        Raises:
            ConfigError: no rate is given and the network was trained without dropout.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class PseudoLabels:
    """Soft labels of one unlabeled volume and how far they are believed.

    Attributes:
        probabilities: file of float16 class probabilities, axes class x y z.
        confidence: of the whole volume, 0..1 (SFR+ eq. 8 or the chosen estimator).
    """

    case_id: CaseId
    probabilities: Path
    confidence: float

    def load(self) -> Float[np.ndarray, "class x y z"]:
        """The probabilities, memory-mapped."""
        array: np.ndarray = np.load(self.probabilities, mmap_mode="r")
        return array
