"""What a strategy may look at in one round: embeddings and predictions, computed when asked."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from loops.workbench import Workbench
from salearn.cases import CaseId, UnitId, parse_unit
from salearn.errors import NotTrainedError
from salearn.features.embed import unit
from salearn.segmenter import Segmenter

if TYPE_CHECKING:
    from salearn.features.embed import Embedder

LOOK = ".look-"  # prefix of the folder of predictions in a run folder
CHUNK = 8  # cases predicted together: 3-D convolutions want batches


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
        self._segmenter = segmenter
        self._adapter = adapter
        self._adapter_key = adapter_key
        self._folder: Path | None = None  # predictions wait on disk: a pool may not fit in memory

    def embeddings(
        self, units: Sequence[UnitId], adapted: bool = False
    ) -> Float[np.ndarray, "unit dim"]:
        """Unit rows of the frozen encoder, or of the one fine-tuned in the last round."""
        embedder = self._adapted if adapted else self._frozen
        return np.stack([self._row(embedder, unit) for unit in units])

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
        case, index = parse_unit(unit)
        whole = self._predicted(case)
        if index is None:
            return whole
        return np.take(whole, [index], axis=self._bench.config.data.axis + 1)

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
        if index is None:
            return embedder.volume(key, image, self._weights(case))
        row: np.ndarray = embedder.slices(key, image)[index]
        return row

    def _weights(self, case: CaseId) -> np.ndarray | None:
        """Predicted foreground mass of every slice; None (all equal) while nothing is trained."""
        if not self.trained or self._bench.config.evidence.pooling == "uniform":
            return None
        foreground = 1 - self._predicted(case)[0]
        axes = tuple(axis for axis in range(3) if axis != self._bench.config.data.axis)
        mass: np.ndarray = foreground.sum(axis=axes)
        return mass

    def _views(self, unit: UnitId) -> np.ndarray:
        case, index = parse_unit(unit)
        key, image = self._bench.key(case), self._bench.volume(case).image
        if index is None:
            return self._frozen.volume_views(key, image)
        views: np.ndarray = self._frozen.views(key, image)[index]
        return views

    def _predicted(self, case: CaseId) -> np.ndarray:
        if self._segmenter is None:
            raise NotTrainedError(
                f"case {case}: nothing has been trained before round {self.round}"
            )
        path = self._path(case)
        if not path.exists():
            self._predict_from(case)
        predicted: np.ndarray = np.load(path)
        return predicted.astype(np.float32)

    def _path(self, case: CaseId) -> Path:
        """File of a prediction, in a folder that goes when this evidence goes."""
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix=LOOK, dir=self._bench.out))
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        return self._folder / f"{case}.npy"

    def _predict_from(self, case: CaseId) -> None:
        """Predict this case and the next ones of the pool that are not predicted yet."""
        order = sorted(self._bench.split.pool)
        waiting = [c for c in order[order.index(case) :] if not self._path(c).exists()]
        chunk = waiting[:CHUNK]
        images = [self._bench.volume(c).image for c in chunk]
        total = [np.zeros(1, np.float32)] * len(chunk)
        for view in range(self._bench.config.evidence.views):
            jittered = [_jitter(i, view, self._bench.config.evidence.jitter) for i in images]
            assert self._segmenter is not None
            for i, probabilities in enumerate(self._segmenter.predict(jittered)):
                total[i] = total[i] + probabilities
        views = self._bench.config.evidence.views
        for c, t in zip(chunk, total, strict=True):
            np.save(self._path(c), (t / views).astype(np.float16))


def _jitter(image: np.ndarray, view: int, size: float) -> np.ndarray:
    """View 0 is the image; the others change gain and offset by up to `size`, fixed by number."""
    if view == 0:
        return np.asarray(image)
    gain, offset = np.random.default_rng([view]).uniform(-size, size, 2)
    return np.asarray(image * np.float32(1 + gain) + np.float32(offset))
