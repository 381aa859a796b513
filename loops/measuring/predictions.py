"""Predictions of the pool while a strategy looks at them: made in chunks, kept on disk."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.evidence import Passes
from salearn.segmenter import DropoutSegmenter, Segmenter

LOOK = ".look-"  # prefix of the folder of predictions in a run folder
CHUNK = 8  # most cases predicted together: 3-D convolutions want batches
DROPOUT_SEED = 1000  # first seed of the dropout passes; pass k has the same in every round

Images = Sequence[np.ndarray]


class Predictions:
    """What one segmenter says of the pool: means over views, and single passes where asked.

    Cases are predicted together in chunks that depend on the pool alone, so an answer does not
    depend on what was asked before. Everything lies in float16 files and is handed out as memory
    maps; the folder goes when this object goes.
    """

    def __init__(self, bench: Workbench, segmenter: Segmenter) -> None:
        self._bench = bench
        self._segmenter = segmenter
        self._settings = bench.config.evidence

    def mean(self, case: CaseId) -> np.ndarray:
        """Mean over the views, float16 "class x y z"."""
        path = self._path("mean", case)
        if not path.exists():
            self._predict_views(case, keep=False)
        mean: np.ndarray = np.load(path, mmap_mode="r")
        return mean

    def passes(self, case: CaseId, kind: Passes) -> Iterator[np.ndarray]:
        """Every pass, float16 "class x y z", one after the other.

        Raises:
            ConfigError: there are fewer than two, or no dropout to draw from.
        """
        views, dropout = self._settings.views, self._settings.dropout_passes
        count = views if kind == "views" else dropout
        if count < 2:
            raise ConfigError(
                "evidence.views: this strategy reads the disagreement of views, and there is "
                "only 1; set evidence.views=4, or its `passes` to dropout"
            )
        if not self._path(f"{kind}-{count - 1}", case).exists():
            if kind == "views":
                self._predict_views(case, keep=True)
            else:
                self._predict_dropout(case)
        for k in range(count):
            yield np.load(self._path(f"{kind}-{k}", case), mmap_mode="r")

    def _predict_views(self, case: CaseId, keep: bool) -> None:
        """Means of the chunk of this case, and with `keep` the single views."""
        chunk, images = self._chunk(case)
        total = [np.zeros(1, np.float32)] * len(chunk)
        for view in range(self._settings.views):
            jittered = [jitter(image, view, self._settings.jitter) for image in images]
            for i, probabilities in enumerate(self._segmenter.predict(jittered)):
                total[i] = total[i] + probabilities
                if keep:
                    self._save(f"views-{view}", chunk[i], probabilities)
        for c, t in zip(chunk, total, strict=True):
            self._save("mean", c, t / self._settings.views)

    def _predict_dropout(self, case: CaseId) -> None:
        chunk, images = self._chunk(case)
        if not isinstance(self._segmenter, DropoutSegmenter):
            raise ConfigError("passes: this segmenter has no dropout; set `passes` to views")
        for k in range(self._settings.dropout_passes):
            found = self._segmenter.predict_dropout(
                images, self._settings.dropout, DROPOUT_SEED + k
            )
            for c, probabilities in zip(chunk, found, strict=True):
                self._save(f"dropout-{k}", c, probabilities)

    def _chunk(self, case: CaseId) -> tuple[tuple[CaseId, ...], Images]:
        cases = self._chunks.get(case, (case,))
        return cases, [self._bench.volume(c).image for c in cases]

    @cached_property
    def _chunks(self) -> dict[CaseId, tuple[CaseId, ...]]:
        """The cases that are predicted together with each case: few enough for the memory."""
        bench = self._bench
        order = sorted({*bench.split.pool, *bench.split.unmasked})
        # float32 sums and one prediction of every case are alive at a time
        width = 8 * (len(bench.dataset.classes) + 1)
        room = self._settings.memory_mb * 2**20
        cost = [width * int(np.prod(bench.volume(c).image.shape[1:])) for c in order]
        chunks = [order[part] for part in _parts(cost, room)]
        return {c: tuple(chunk) for chunk in chunks for c in chunk}

    def _save(self, kind: str, case: CaseId, probabilities: np.ndarray) -> None:
        path = self._path(kind, case)
        path.parent.mkdir(exist_ok=True)
        np.save(path, probabilities.astype(np.float16))

    def _path(self, kind: str, case: CaseId) -> Path:
        return self._folder / kind / f"{case}.npy"

    @cached_property
    def _folder(self) -> Path:
        folder = Path(tempfile.mkdtemp(prefix=LOOK, dir=self._bench.out))
        remove: Callable[..., None] = shutil.rmtree
        weakref.finalize(self, remove, folder, ignore_errors=True)
        return folder


def _parts(cost: Sequence[int], room: int) -> list[slice]:
    """Runs of at most CHUNK neighbours that cost at most `room` together (or one alone)."""
    parts: list[slice] = []
    start, spent = 0, 0
    for i, price in enumerate(cost):
        if i > start and (spent + price > room or i - start == CHUNK):
            parts.append(slice(start, i))
            start, spent = i, 0
        spent += price
    return [*parts, slice(start, len(cost))]


def jitter(image: np.ndarray, view: int, size: float) -> np.ndarray:
    """View 0 is the image; the others change gain and offset by up to `size`, fixed by number."""
    if view == 0:
        return np.asarray(image)
    gain, offset = np.random.default_rng([view]).uniform(-size, size, 2)
    return np.asarray(image * np.float32(1 + gain) + np.float32(offset))
