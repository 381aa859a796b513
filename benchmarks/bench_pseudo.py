"""Pseudo-labels made once per adapter against a teacher pass on every training step; counted."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Other, Row, compare, emit, lone_row, one_thread

SHAPE = (35, 50, 36)
CASES, STEPS, BATCH = (
    4,
    20,
    2,
)  # a study's training has hundreds of steps: the ratio grows with them
KEYS = {f"case_{i}": f"{i:064x}" for i in range(CASES)}


@dataclass
class Counting:
    """A segmenter that counts the volumes it is given."""

    segmenter: Any
    volumes: int = 0

    def predict(self, images: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
        self.volumes += len(images)
        yield from self.segmenter.predict(images)


def segmenter() -> Counting:
    from loops.pseudo import SamSegmenter
    from loops.stitch import Stitcher, StitchSettings
    from salearn.models.sam3 import SamSettings, load_sam

    sam = load_sam(SamSettings(resolution=256), ["anterior part", "posterior part"])
    stitcher = Stitcher(StitchSettings(tile=(32, 32), fit="crop"), axis=1)
    return Counting(SamSegmenter.load(sam, None, stitcher))


def images() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {case: rng.uniform(-1, 1, (1, *SHAPE)).astype(np.float32) for case in KEYS}


def drawn() -> list[list[str]]:
    """Which cases each step sees."""
    rng = np.random.default_rng(1)
    return [rng.choice(list(KEYS), BATCH).tolist() for _ in range(STEPS)]


def stored(counting: Counting, folder: Path, store: list[Path]) -> Callable[[], list[np.ndarray]]:
    """Every call is a study that begins: its store is empty, its first cell fills it."""
    from loops.pseudo import PROBABILITIES, PseudoSettings, write_pseudo_labels
    from salearn.cases import CaseId
    from salearn.store import Store

    given = {CaseId(case): image for case, image in images().items()}
    keys = {CaseId(case): key for case, key in KEYS.items()}

    def run() -> list[np.ndarray]:
        store.append(folder / str(len(store)))
        place = Store(store[-1])
        write_pseudo_labels(counting, given.items(), place, keys, PseudoSettings())
        files = {c: place.path("pseudo", k) / PROBABILITIES for c, k in KEYS.items()}
        return [np.load(files[case], mmap_mode="r") for step in drawn() for case in step]

    return run


def each_step(counting: Counting) -> Callable[[], list[np.ndarray]]:
    """The teacher predicts the volumes of every step anew."""
    given = images()

    def run() -> list[np.ndarray]:
        found: list[np.ndarray] = []
        for step in drawn():
            found += counting.predict([given[case] for case in step])
        return found

    return run


def rows() -> Iterator[Row]:
    """One training; then the next cell of the study, which finds everything."""
    from loops.pseudo import PseudoSettings, write_pseudo_labels
    from salearn.cases import CaseId
    from salearn.store import Store

    with one_thread(), tempfile.TemporaryDirectory() as name:
        mine, theirs, places = segmenter(), segmenter(), list[Path]()
        run = stored(mine, Path(name), places)
        other = Other(name="a pass on every step", run=each_step(theirs), tolerance=1e-3)  # fp16
        what = f"pseudo-labels of {CASES} volumes, {STEPS} steps of {BATCH}"
        yield from compare("pseudo", what, run, [other], 2)
        each = mine.volumes / len(places), theirs.volumes / len(places)
        before, keys = mine.volumes, {CaseId(case): key for case, key in KEYS.items()}
        again = [(CaseId(case), image) for case, image in images().items()]
        write_pseudo_labels(mine, again, Store(places[-1]), keys, PseudoSettings())
        if each[0] != CASES or mine.volumes != before:
            raise ArithmeticError(f"pseudo: {each[0]} volumes predicted, further cell not 0")
        counted = f"volumes predicted: {each[0]:g}, further cell 0; on every step {each[1]:g}"
        yield lone_row("pseudo", counted, 1, 0.0, None)


if __name__ == "__main__":
    emit(rows())
