"""What a strategy may look at in one round: embeddings and predictions, computed when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8

from loops.measuring.predictions import LOOK, Predictions
from loops.workbench import Workbench
from salearn.cases import CaseId, UnitId, parse_patch, parse_unit, unit_box
from salearn.errors import NotTrainedError
from salearn.evidence import Passes
from salearn.features.embed import unit
from salearn.features.gather import gathered
from salearn.segmenter import Segmenter

if TYPE_CHECKING:
    from salearn.features.embed import Embedder

__all__ = ["LOOK", "RoundEvidence"]


class RoundEvidence:
    """Evidence before round `round` selects; models are those of the round before."""

    def __init__(
        self,
        bench: Workbench,
        round: int,
        *,
        segmenter: Segmenter | None = None,
        adapter: Path | None = None,
        adapter_key: str | None = None,
    ) -> None:
        self.round = round
        self.adapted = adapter is not None
        self.trained = segmenter is not None
        self._bench = bench
        self._adapter = adapter
        self._adapter_key = adapter_key
        self._made = None if segmenter is None else Predictions(bench, segmenter)

    def embeddings(
        self, units: Sequence[UnitId], adapted: bool = False
    ) -> Float[np.ndarray, "unit dim"]:
        """Unit rows of the frozen encoder, or of the one fine-tuned in the last round."""
        embedder = self._adapted if adapted else self._frozen
        rows = (self._row(embedder, unit) for unit in units)
        return gathered(rows, len(units), self._bench.out)

    def view_embeddings(self, units: Sequence[UnitId]) -> Float[np.ndarray, "unit view dim"]:
        """Unit rows of intensity views of each unit, frozen encoder."""
        return np.stack([self._views(unit) for unit in units])

    def reference_bank(self) -> Float[np.ndarray, "row dim"] | None:
        """Rows of the .npy file that `evidence.bank` names, scaled to unit length; else None."""
        path = self._bench.config.evidence.bank
        if path is None:
            return None
        rows: np.ndarray = np.load(path).astype(np.float32)
        return unit(rows)

    def probabilities(self, unit: UnitId) -> Float[np.ndarray, "class x y z"]:
        """Mean over views of the last round's student or teacher."""
        return self._part(self._predicted(parse_unit(unit)[0]), unit).astype(np.float32)

    def passes(self, unit: UnitId, kind: Passes) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """The views of `evidence.views`, or the passes of `evidence.dropout_passes`, from disk."""
        case = parse_unit(unit)[0]
        for whole in self._predictions(case).passes(case, kind):
            yield self._part(whole, unit).astype(np.float32)

    def extent(self, unit: UnitId) -> tuple[int, int, int]:
        """Voxels of a unit along x, y, z on the grid of the normalised image."""
        x, y, z = self._part(self._bench.volume(parse_unit(unit)[0]).image, unit).shape[1:]
        return x, y, z

    def audit_mask(self, unit: UnitId) -> UInt8[np.ndarray, "x y z"]:
        """The true mask, through the oracle's own heading for audits."""
        mask = self._bench.oracle.reveal(parse_unit(unit)[0], "audit", self.round)
        part: np.ndarray = self._part(mask[None], unit)[0]
        return part

    def _part(self, whole: np.ndarray, unit: UnitId) -> np.ndarray:
        """The unit's part of "channel x y z" of its case; a view, nothing is read yet."""
        return whole[(slice(None), *unit_box(unit, self._bench.config.data.axis))]

    def foreground(self, unit: UnitId) -> bool:
        """Whether a labeled unit shows foreground."""
        return self._bench.oracle.foreground(unit)

    @cached_property
    def _frozen(self) -> Embedder:
        return self._bench.embedder()

    @cached_property
    def _adapted(self) -> Embedder:
        if self._adapter is None or self._adapter_key is None:
            raise NotTrainedError("adapted embeddings: no adapter has been trained by this learner")
        return self._bench.embedder(self._adapter, self._adapter_key)

    def _row(self, embedder: Embedder, unit: UnitId) -> np.ndarray:
        case, index = parse_unit(unit)
        key, image = self._bench.key(case), self._bench.volume(case).image
        if parse_patch(unit) is not None:
            box = unit_box(unit, self._bench.config.data.axis)
            return embedder.volume(key, image, self._weights(unit), box)
        if index is None:
            return embedder.volume(key, image, self._weights(unit))
        row: np.ndarray = embedder.slices(key, image)[index]
        return row

    def _weights(self, unit: UnitId) -> np.ndarray | None:
        """Predicted foreground of each slice of a unit; None (all equal): nothing is trained."""
        if not self.trained or self._bench.config.evidence.pooling == "uniform":
            return None
        foreground = 1 - self.probabilities(unit)[0]
        axes = tuple(axis for axis in range(3) if axis != self._bench.config.data.axis)
        mass: np.ndarray = foreground.sum(axis=axes)
        return mass

    def _views(self, unit: UnitId) -> np.ndarray:
        case, index = parse_unit(unit)
        key, image = self._bench.key(case), self._bench.volume(case).image
        if parse_patch(unit) is not None:
            box = unit_box(unit, self._bench.config.data.axis)
            return self._frozen.volume_views(key, image, box)
        if index is None:
            return self._frozen.volume_views(key, image)
        views: np.ndarray = self._frozen.views(key, image)[index]
        return views

    def _predicted(self, case: CaseId) -> np.ndarray:
        return self._predictions(case).mean(case)

    def _predictions(self, case: CaseId) -> Predictions:
        if self._made is None:
            raise NotTrainedError(
                f"case {case}: nothing has been trained before round {self.round}"
            )
        return self._made
