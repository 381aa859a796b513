"""Stage 4, re-training: a V-Net learns from masks, a host and pseudo-labels."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from loops.learning.batch_norm import BatchNorm
from loops.learning.go_on import keep_moments
from loops.learning.student_settings import StudentSettings
from loops.learning.task import Task, make_task
from loops.learning.training import Trainer
from loops.ssl.pseudo_label import PseudoLossSettings
from loops.ssl.registry import Host
from salearn.cases import IGNORE
from salearn.data.patches import CropSampler, Example
from salearn.errors import ConfigError, DataError, WeightsError
from salearn.models.checkpoint import load_state, load_weights, save_state, save_weights
from salearn.models.infer import at_least_two, predict_volumes
from salearn.models.vnet import VNet
from salearn.settings import dump, parse
from salearn.store import append_line, content_key, read_lines, write_json, write_text

__all__ = ["PseudoLossSettings", "Student", "StudentSettings", "load_student", "train_student"]

Report = Callable[[int, int, dict[str, float]], None]
Watch = Callable[[Trainer, Path], None]
Which = Literal["student", "teacher", "second"]  # second: the other V-Net of cps

logger = logging.getLogger(__name__)


def train_student(
    labeled: Sequence[Example],
    unlabeled: Sequence[Example],
    num_classes: int,
    settings: StudentSettings,
    host: Host,
    pseudo: PseudoLossSettings | None,
    work: Path,
    seed: int,
    report: Report | None = None,
    *,
    start: Path | None = None,
    carry: bool = False,
    label: Callable[[Tensor], Tensor] | None = None,
    watch: Watch | None = None,
) -> None:
    """Train student and teacher and write them into the folder `work`.

    The result depends on the set of the examples, not on their order. A folder with a checkpoint
    of the same training is continued, bit for bit.

    Args:
        labeled, unlabeled: with and without mask; an unlabeled example without pseudo-label
            enters the host's terms only.
        num_classes: background included.
        pseudo: SFR's pseudo-label term, or None for the host alone.
        report: called after each iteration with its number (from 1), the total and the terms.

        start: folder of a student to go on from, in place of random weights.
        carry: take the optimisers' moments from there too, and leave those of this training.
        label: labels the crops of every step (SFR's online pseudo-labels).
        watch: called with trainer and folder before the first and after each iteration; it looks.

    Raises:
        ConfigError: the host cannot be trained with so few cases, see `check_host`.
        DataError: an example does not fit the others or the number of classes.
        TrainingError: no labeled example, a loss that is not finite (it names the cases), or a
            card that cannot hold one crop.

    Source: SFR eq. 6 and 7.
    """
    task = make_task(labeled, unlabeled, num_classes, settings, host, pseudo, seed)
    task = replace(task, label=label, start=start, carry=carry and start is not None)
    facts = _facts(task, settings)
    # Dropout and initial weights draw from torch's global generator; the caller's is put back.
    with torch.random.fork_rng(devices=[]):
        trainer = Trainer(task, settings)
        seconds = _train(trainer, work, content_key(facts), report, watch)
        _finish(trainer, work, facts, seconds)
        if carry:
            keep_moments(trainer, work)


def load_student(path: Path, which: Which) -> Student:
    """The student, its EMA teacher or a host's second V-Net that `train_student` wrote.

    It goes to the device that it was trained on, or to the CPU where there is no such device.

    Raises:
        WeightsError: the folder holds no finished training, or broken files.
    """
    try:
        stored = json.loads((path / "settings.json").read_text())
        settings = parse(StudentSettings, stored["settings"], f"{path}/settings.json: settings")
        net = VNet(int(stored["channels"]), int(stored["num_classes"]), settings.net)
    except (OSError, KeyError, json.JSONDecodeError) as error:
        raise WeightsError(
            f"{path}: settings.json is missing or broken ({error}); delete it and train again"
        ) from None
    load_weights(net, path / f"{which}.safetensors")
    return Student(net, settings, which)


class Student:
    """A trained V-Net as a segmenter of whole volumes."""

    def __init__(self, net: VNet, settings: StudentSettings, which: Which = "student") -> None:
        cuda = settings.device == "cuda" and torch.cuda.is_available()
        self.device = torch.device("cuda" if cuda else "cpu")
        self.net = net.to(self.device).eval().requires_grad_(False)
        self.settings = settings
        self.which: Which = which

    @property
    def channels(self) -> int:
        """Image channels that it was trained on."""
        return int(next(self.net.parameters()).shape[1])

    def predict(
        self, volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]]
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """Float32 probabilities in the order and on the grid of the volumes.

        Raises:
            DataError: a volume has another number of channels.
        """
        for index, volume in enumerate(volumes):
            if volume.shape[0] != self.channels:
                raise DataError(
                    f"volume {index} has {volume.shape[0]} channels; this student was trained on "
                    f"{self.channels}"
                )
        s = self.settings
        return predict_volumes(
            self.net, volumes, self.net.settings.divisors, s.patch, s.inference, self.device
        )

    def predict_dropout(
        self,
        volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]],
        rate: float | None,
        seed: int,
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """As `predict`, channels dropped at random; the same volumes and seed give the same.

        Raises:
            ConfigError: rate is None, and the student was trained without dropout.
        """
        drop, own = self.net.dropout, self.settings.dropout
        if not (own if rate is None else rate):
            raise ConfigError(
                "evidence.dropout: dropout passes are asked for, but student.dropout is 0; set "
                "evidence.dropout=0.2 to drop in these passes alone, or train with student.dropout"
            )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            drop.train().p = own if rate is None else rate
            try:
                found = list(self.predict(volumes))
            finally:
                drop.eval().p = own
        yield from found

    def save(self, path: Path) -> None:
        """Write settings and weights; `load_student(path, which)` reads them."""
        num_classes = self.net.head.out_channels
        _write_settings(path, self.settings, self.channels, num_classes)
        save_weights(self.net, path / f"{self.which}.safetensors")


def _facts(task: Task, settings: StudentSettings) -> dict[str, Any]:
    """What defines the training, for the record and for the name of its checkpoint."""
    return {
        "labeled": [e.case_id for e in task.labeled],
        "unlabeled": [e.case_id for e in task.unlabeled],
        "with_pseudo": [e.case_id for e in task.unlabeled if e.pseudo is not None],
        "channels": task.channels,
        "num_classes": task.num_classes,
        "host": {"class": type(task.host).__name__, **dump(task.host)},
        "pseudo": None if task.pseudo is None else dump(task.pseudo),
        "seed": task.seed,
        "settings": dump(settings),
    }


def _train(
    trainer: Trainer, work: Path, key: str, report: Report | None, watch: Watch | None
) -> float:
    """Run the iterations that are left; CPU seconds spent, those before a kill included."""
    path, log, total = work / "_checkpoint.pt", work / "train.jsonl", trainer.settings.iterations
    state = load_state(path)
    spent = 0.0
    if state is not None and state["key"] == key:
        trainer.restore(state["trainer"])
        spent = float(state["cpu_seconds"])
    kept = [line for line in read_lines(log) if line["iteration"] <= trainer.iteration]
    write_text(log, "".join(json.dumps(line, sort_keys=True) + "\n" for line in kept))
    start = time.process_time() - spent
    if watch is not None:
        watch(trainer, work)
    while trainer.iteration < total:
        terms = trainer.step()
        done = trainer.iteration
        if done % trainer.settings.log_every == 0 or done == total:
            append_line(log, {"iteration": done, **terms})
        if watch is not None:
            watch(trainer, work)
        if done % trainer.settings.checkpoint_every == 0 and done < total:
            seconds = time.process_time() - start
            save_state(path, {"key": key, "cpu_seconds": seconds, "trainer": trainer.state()})
        if report is not None:
            report(done, total, terms)
    return time.process_time() - start


def _finish(trainer: Trainer, work: Path, facts: dict[str, Any], seconds: float) -> None:
    task, settings = trainer.task, trainer.settings
    if settings.batchnorm_batches:
        _estimate_batchnorm(trainer)
    dead = {
        which: dead_classes(net, trainer)
        for which, net in (("student", trainer.student), ("teacher", trainer.teacher.module))
    }
    union = sorted({value for values in dead.values() for value in values})
    if union:
        logger.warning(
            "classes %s are never predicted on labeled crops (%s); they died in training: try "
            "another seed, more iterations or activation leaky_relu", union, dead,
        )  # fmt: skip
    save_weights(trainer.student, work / "student.safetensors")
    save_weights(trainer.teacher.module, work / "teacher.safetensors")
    for name, part in trainer.parts.items():
        if part.saved:
            save_weights(part.net, work / f"{name}.safetensors")
    _write_settings(work, settings, task.channels, task.num_classes)
    record = {
        **facts,
        "parameters": sum(p.numel() for p in trainer.student.parameters()),
        "parts": {n: sum(p.numel() for p in t.net.parameters()) for n, t in trainer.parts.items()},
        "iterations": trainer.iteration,
        "dead_classes": union,
        "dead_classes_of": dead,
    }
    if trainer.portions.told:
        record["oom"] = trainer.portions.told
    write_json(work / "record.json", record)
    write_json(work / "timing.json", {"cpu_seconds": round(seconds, 3)})


def _write_settings(path: Path, settings: StudentSettings, channels: int, num_classes: int) -> None:
    stored = {"settings": dump(settings), "channels": channels, "num_classes": num_classes}
    write_json(path / "settings.json", stored)


@torch.inference_mode()
def dead_classes(net: nn.Module, trainer: Trainer) -> list[int]:
    """Classes that labeled crops show and the network never predicts there, or with flat logits."""
    generator = Generator().manual_seed(trainer.task.seed)
    sampler = CropSampler(trainer.task.labeled, trainer.settings.patch, foreground_share=1.0)
    shown: set[int] = set()
    predicted: set[int] = set()
    flat = set(range(1, trainer.task.num_classes))
    mode = net.training
    net.eval()
    for _ in range(max(4, trainer.task.num_classes)):
        crops = sampler.draw(4, generator)
        logits = at_least_two(net, crops.image.to(trainer.device)).cpu()
        shown |= set(np.unique(crops.mask).tolist()) - {IGNORE}
        predicted |= set(np.unique(logits.argmax(1)).tolist())
        flat -= set((logits.std(dim=(0, 2, 3, 4)) > 1e-4).nonzero()[:, 0].tolist())
    net.train(mode)
    return sorted(shown - (predicted - flat))


@torch.no_grad()
def _estimate_batchnorm(trainer: Trainer) -> None:
    """Running statistics of the teacher as plain means over fresh batches, dropout off."""
    net = trainer.teacher.module.eval()
    norms = [m for m in net.modules() if isinstance(m, BatchNorm)]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None
    every = trainer.settings.running_statistics == "all"
    for _ in range(trainer.settings.batchnorm_batches if norms else 0):
        for view in (trainer.labeled_view(), trainer.unlabeled_view() if every else None):
            if view is not None:
                net(view.weak)
