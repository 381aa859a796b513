"""One trial of a search: train with some settings, report validation Dice at equal steps."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from loops.config import RunConfig, parse_run
from loops.progress import Progress
from loops.sfr.confidence import mean_dice
from loops.sfr.given import Given, Model
from loops.sfr.plus import turns_of
from loops.sfr.stages import Stages
from loops.sfr.turn import bare_turn, first_turn
from loops.student import Student
from loops.studies.search.proxy import Proxy
from loops.studies.search.settings import SearchSettings
from loops.studies.search.tuned import with_inner
from loops.workbench import Workbench
from salearn.models.vnet import VNet
from salearn.segmenter import Segmenter
from salearn.store import append_line, content_key, read_lines

if TYPE_CHECKING:
    from loops.learning.training import Trainer

CODE_VERSION = 1
CURVE = "curve.jsonl"
Told = Callable[[int, float], None]


def config_of(values: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> RunConfig:
    """The run with the settings of a trial."""
    return parse_run(with_inner(values, overrides), where)


def trial_key(config: RunConfig, proxy_hash: str, settings: SearchSettings) -> str:
    """Content key of what a trial computes."""
    how = [settings.stage, steps_of(config, settings)]
    return content_key("trial", CODE_VERSION, config.key, proxy_hash, how)


def steps_of(config: RunConfig, settings: SearchSettings) -> list[int]:
    """Iterations at which Dice is read: equal parts of the training, the last one its end."""
    total, reports = config.student.iterations, settings.reports
    return sorted({max(1, total * (k + 1) // reports) for k in range(reports)})


def run_trial(
    config: RunConfig, proxy: Proxy, settings: SearchSettings, told: Told, progress: Progress
) -> None:
    """Train and score.

    Args:
        told: called with (step, Dice) at each report, those of an earlier attempt first.
    """
    bench = Bench(config, progress)
    stages = Probed(bench, proxy, settings, told)
    given = Given(pool=proxy.pool(bench), round=0)
    if settings.stage == "sam":
        adapter = stages.adapter(given)
        told(config.finetune.iterations, stages.dice(stages.sam(adapter)))
        return
    if config.plus:
        student = list(turns_of(stages, given))[-1].student
    elif config.sfr:
        student = first_turn(stages, given)[0].student
    else:
        student = bare_turn(stages, given).student
    lines = read_lines(student.path / CURVE)
    if not stages.told and lines:  # found in the store
        for line in lines:
            told(line["step"], line["dice"])
    if not lines:  # no training of the last turn: the gate was closed
        told(stages.steps[-1], stages.dice(stages.load(student, stages.which)))


class Bench(Workbench):
    """A workbench whose students keep a curve of validation Dice, under keys of their own.

    Attributes:
        suffix: of the key of the student that is being trained; "" = an ordinary one.
    """

    suffix = ""

    def train_once(
        self, stage: str, key: str, round: int, make: Callable[[Path, Callable[..., None]], None]
    ) -> Path:
        """As always, or a student with a curve."""
        if stage == "students" and self.suffix:
            return super().train_once("searched", content_key(key, self.suffix), round, make)
        return super().train_once(stage, key, round, make)


class Probed(Stages):
    """Stages whose last student is scored on the validation cases while it is trained."""

    def __init__(self, bench: Bench, proxy: Proxy, settings: SearchSettings, told: Told) -> None:
        super().__init__(bench)
        self._bench, self._proxy, self._told = bench, proxy, told
        self.steps = steps_of(bench.config, settings)
        self._last = bench.config.turns - 1
        self.which: Any = settings.stage
        self._suffix = content_key(CODE_VERSION, proxy.record["hash"], self.which, self.steps)
        self.told: list[int] = []

    def student(self, given: Given, *args: Any, **named: Any) -> Model:
        """The student; scored if it is the one that counts."""
        if given.fold is not None or given.turn != self._last:
            return super().student(given, *args, **named)
        with self._watching():
            return super().student(given, *args, **named)

    @contextmanager
    def _watching(self) -> Iterator[None]:
        self._bench.suffix, self.watch = self._suffix, self._look
        try:
            yield
        finally:
            self._bench.suffix, self.watch = "", None

    def _look(self, trainer: Trainer, work: Path) -> None:
        """Called before the first and after every iteration of the training."""
        known = {line["step"]: line["dice"] for line in read_lines(work / CURVE)}
        if not self.told:  # an earlier attempt came so far
            for step, dice in known.items():
                self._tell(step, dice)
        step = trainer.iteration
        if step not in self.steps or step in self.told:
            return
        net = trainer.teacher.module if self.which == "teacher" else trainer.student
        looked = Student(cast(VNet, copy.deepcopy(net)), trainer.settings, self.which)
        dice = self.dice(looked)
        append_line(work / CURVE, {"step": step, "dice": dice})
        self._tell(step, dice)

    def _tell(self, step: int, dice: float) -> None:
        self.told.append(step)
        self._told(step, dice)

    def dice(self, segmenter: Segmenter) -> float:
        """Mean Dice over the validation cases and classes; their masks were paid for."""
        bench, cases = self._bench, self._proxy.validation
        predicted = segmenter.predict([bench.volume(case).image for case in cases])
        return round(float(np.mean(list(self._each(cases, predicted)))), 9)

    def _each(self, cases: Sequence[Any], predicted: Iterator[np.ndarray]) -> Iterator[float]:
        for case, probabilities in zip(cases, predicted, strict=True):
            labels = probabilities.argmax(axis=0).astype(np.uint8)
            yield mean_dice(labels, self._bench.oracle.mask(case), self.num_classes)


def searched(config: RunConfig, out: Path) -> RunConfig:
    """The run in the folder of a search: its query log is there, its store where it was."""
    return replace(config, out=str(out), store=str(config.store_path), sinks=())
