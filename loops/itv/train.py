"""A segmenter of phases from annotated phases: an adapter of SAM3 per window, or a student."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from loops.finetune import finetune
from loops.itv.bench import PhaseBench
from loops.itv.config import Arm, ItvConfig
from loops.itv.views import (
    Group,
    all_windows,
    groups_of,
    orders,
    shown,
    together,
    turned,
    turned_back,
)
from loops.progress import Report
from loops.stitch import Stitcher, StitchSettings
from loops.student import load_student, train_student
from loops.tuning.mining import Mining
from loops.tuning.record import queue_reviews
from salearn.cases import CaseId
from salearn.data.patches import Example
from salearn.models.pixels import Window
from salearn.models.sam3 import Sam, load_sam, sam_key
from salearn.models.sam3_segmenter import SamSegmenter
from salearn.segmenter import Segmenter
from salearn.settings import dump, keyed
from salearn.store import array_hash, content_key

CODE_VERSION = 1  # raise when the same settings give another model or prediction
STREAM = 21
Masks = Mapping[CaseId, UInt8[np.ndarray, "x y z"]]


class PhaseTrainer:
    """Trains what is not in the store, and gives segmenters that take phases in HU."""

    def __init__(self, bench: PhaseBench) -> None:
        self.bench = bench
        self.config: ItvConfig = bench.config
        self.groups = groups_of(bench.dataset.classes, self.config.structures)
        self._sams: dict[Group, Sam] = {}

    def trained(self, masks: Masks, arm: Arm, round: int) -> tuple[Segmenter, str]:
        """A segmenter trained on annotated phases, and its content key."""
        if self.config.segmenter == "student":
            return self._student(masks, round)
        parts, keys = [], []
        for number, group in enumerate(self.groups):
            folder, key = self._adapter(masks, group, number, arm, round)
            parts.append((group, folder))
            keys.append(key)
        made = WindowedSam(self, parts, len(self.bench.dataset.classes) + 1)
        return made, content_key("windowed", CODE_VERSION, keys)

    def sam(self, group: Group) -> Sam:
        """SAM3 with the prompts of a group."""
        if group not in self._sams:
            prompts = [self.bench.prompts[label - 1] for label in group.labels]
            pool = self.bench.generic(self.config.negatives)
            self._sams[group] = load_sam(self.config.sam, prompts, pool)
        return self._sams[group]

    @property
    def stitcher(self) -> Stitcher:
        """How slices become inputs."""
        config = self.config
        if config.mode == "mosaic":
            return Stitcher(config.stitch, config.data.axis)
        axis = 2 if config.mode == "planes" else config.data.axis
        return Stitcher(StitchSettings(policy="single"), axis)

    @property
    def channels(self) -> int:
        """Of an input of SAM3."""
        return 3 if self.config.mode == "rgb" else 1

    def _adapter(
        self, masks: Masks, group: Group, number: int, arm: Arm, round: int
    ) -> tuple[Path, str]:
        config, bench = self.config, self.bench
        seed = self._seed(number)
        prompts = [bench.prompts[label - 1] for label in group.labels]
        parts = [keyed(p) for p in (config.build_arm(), self.stitcher.settings, config.finetune)]
        how = [
            config.arm["name"],
            config.mode,
            group.window,
            group.labels,
            prompts,
            self.stitcher.axis,
            seed,
        ]
        mined = keyed(config.negatives) if arm == "hard" else None
        if mined and (pool := bench.generic(config.negatives)):
            how.append(pool.texts)
        key = content_key(
            "itv-adapter", CODE_VERSION, sam_key(config.sam), parts, how, mined, self._data(masks)
        )

        def make(work: Path, report: Report) -> None:
            examples = list(self._examples(masks, group))
            mining = None
            if arm == "hard":
                mining = Mining(config.negatives, seed, self._patients(examples))
            finetune(
                examples,
                self.sam(group),
                config.build_arm(),
                self.stitcher,
                config.finetune,
                work,
                seed,
                report,
                window=Window.identity(self.channels),
                mining=mining,
            )

        folder = bench.train_once("adapters", key, round, make)
        names = [bench.dataset.classes[label - 1] for label in group.labels]
        queue_reviews(folder, bench.out, round, names)
        return folder, key

    def _patients(self, examples: Sequence[Example]) -> list[str]:
        """Patient of every example; what shows another plane is no phase of the same grid."""
        planes = len(orders(self.config.mode))
        return [
            f"{self.bench.patients[example.case_id]}/{number % planes}"
            for number, example in enumerate(examples)
        ]

    def _examples(self, masks: Masks, group: Group) -> Iterator[Example]:
        """Windowed phases with the mask of the group, once for each plane."""
        mode, axis = self.config.mode, self.config.data.axis
        for case, mask in sorted(masks.items()):
            volume = self.bench.volume(case)
            image, chosen = np.asarray(volume.image), group.mask(mask)
            views = shown(image, group.window, mode, axis)
            for order, view in zip(orders(mode), views, strict=True):
                x, y, z = (volume.spacing[axis] for axis in order)
                yield Example(
                    case_id=case,
                    image=view,
                    mask=turned(chosen[None], order)[0],
                    spacing=(x, y, z),
                )

    def _student(self, masks: Masks, round: int) -> tuple[Segmenter, str]:
        config, host, seed = self.config, self.config.build_host(), self._seed(0)
        windows = [group.window for group in self.groups]
        given = {k: v for k, v in dump(config.student).items() if k != "device"}
        others = sorted(set(self.bench.split.pool) - set(masks)) if host.unlabeled else []
        key = content_key(
            "itv-student", CODE_VERSION, config.learner_name, dump(host), given, seed, windows,
            self._data(masks), [self.bench.key(case) for case in others],
        )  # fmt: skip

        def example(case: CaseId, mask: np.ndarray | None) -> Example:
            image = all_windows(np.asarray(self.bench.volume(case).image), windows)
            return Example(case_id=case, image=image, mask=mask)

        def make(work: Path, report: Report) -> None:
            labeled = [example(case, mask) for case, mask in sorted(masks.items())]
            unlabeled = [example(case, None) for case in others]
            classes = len(self.bench.dataset.classes) + 1
            train_student(
                labeled, unlabeled, classes, config.student, host, None, work, seed, report
            )

        folder = self.bench.train_once("students", key, round, make)
        return WindowedStudent(load_student(folder, config.evidence.stage), windows), key

    def _data(self, masks: Masks) -> list[Any]:
        return [(c, self.bench.key(c), array_hash(mask)) for c, mask in sorted(masks.items())]

    def _seed(self, number: int) -> int:
        entropy = [self.config.train_seed, STREAM, number]
        return int(np.random.SeedSequence(entropy).generate_state(1)[0])


class WindowedSam:
    """A `Segmenter` of phases in HU: every group of structures in its own window."""

    def __init__(
        self, trainer: PhaseTrainer, parts: Sequence[tuple[Group, Path]], num_classes: int
    ) -> None:
        self._trainer = trainer
        self._num_classes = num_classes
        window = Window.identity(trainer.channels)
        self._parts = [
            (group, SamSegmenter.load(trainer.sam(group), folder, trainer.stitcher))
            for group, folder in parts
        ]
        for _, segmenter in self._parts:
            segmenter.window = window
            segmenter.batch = 8

    def predict(
        self, volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]]
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """Probabilities (class 0 = background, sum 1) on the grid of each phase."""
        for volume in volumes:
            image = np.asarray(volume)
            parts = [(group, self._group(group, s, image)) for group, s in self._parts]
            yield together(parts, self._num_classes)

    def save(self, path: Path) -> None:
        """Write the adapters, a folder for each window."""
        for number, (_, segmenter) in enumerate(self._parts):
            segmenter.save(path / f"window_{number}")

    def _group(self, group: Group, segmenter: SamSegmenter, image: np.ndarray) -> np.ndarray:
        """Mean over the orders of the mode."""
        config = self._trainer.config
        views = shown(image, group.window, config.mode, config.data.axis)
        found = [
            turned_back(p, order)
            for order, p in zip(orders(config.mode), segmenter.predict(list(views)), strict=True)
        ]
        mean: np.ndarray = np.mean(found, axis=0)
        return mean


class WindowedStudent:
    """A `Segmenter` of phases in HU: all windows as channels of one network."""

    def __init__(self, student: Segmenter, windows: Sequence[tuple[float, float]]) -> None:
        self._student = student
        self._windows = windows

    def predict(
        self, volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]]
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """Probabilities (class 0 = background, sum 1) on the grid of each phase."""
        return self._student.predict([all_windows(np.asarray(v), self._windows) for v in volumes])

    def save(self, path: Path) -> None:
        """Write the network."""
        self._student.save(path)
