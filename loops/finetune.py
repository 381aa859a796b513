"""Fine-tuning: an adapter of SAM3 learns from stitched labeled volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from loops.tuning.data import LabeledMosaics, check_labeled
from loops.tuning.loss import prompt_loss, sfr_loss
from loops.tuning.mining import Mining
from salearn.data.augment import AugmentSettings
from salearn.data.patches import Example
from salearn.errors import ConfigError, TrainingError, WeightsError
from salearn.models.adapted import describe_adapted, go_on_from, save_adapted
from salearn.models.arms.registry import Arm
from salearn.models.lora import trainable
from salearn.models.pixels import Window
from salearn.models.sam3 import Sam
from salearn.mosaic import MosaicStitcher
from salearn.settings import Field, dump, settings
from salearn.store import (
    append_line,
    atomic,
    canonical,
    content_key,
    read_lines,
    write_json,
    write_text,
)

Report = Callable[[int, int, dict[str, float]], None]
CHECKPOINT, LOG, RECORD = "_checkpoint.pt", "train.jsonl", "record.json"
MOMENTS = "optimizer.pt"


@settings
class FinetuneSettings:
    """How an adapter is trained. Defaults are for tiny (real SAM3: learning_rate about 1e-4).

    Attributes:
        batch: mosaics in a step; with stitch.policy "single" these are slices.
        warmup: share of the iterations in which the rate rises linearly.
        clip: greatest norm of the gradient.
        positive_weight: of foreground pixels in the cross-entropy.
        bce_weight, dice_weight: of the two terms.
        loss: "prompt" = each prompt against everything else, with the weights above; "sfr" = half
            Dice, half CE of the softmax over background and classes (SFR eq. 5).
        void: with loss=sfr, void pixels are "ignored", or stay "in_dice" as in SFR's code.
        bezier: random monotone map of half of the slices: "off", on slices brought to 0..1
            ("unit"), or on normalised intensities as they are ("zscored", SFR's code).
        checkpoint_every, log_every: iterations.
        amp: bfloat16 autocast, on CUDA only.
    """

    LATER: ClassVar[tuple[str, ...]] = ("loss", "void", "bezier")
    iterations: int = Field(default=220, ge=1)
    batch: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=4e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(default=0.1, ge=0, lt=1)
    schedule: Literal["cosine", "poly"] = "cosine"
    clip: float = Field(default=1.0, gt=0)
    positive_weight: float = Field(default=3.0, gt=0)
    bce_weight: float = Field(default=2.0, ge=0)
    dice_weight: float = Field(default=1.0, ge=0)
    augment: AugmentSettings = AugmentSettings()
    loss: Literal["prompt", "sfr"] = "prompt"
    void: Literal["ignored", "in_dice"] = "ignored"
    bezier: Literal["off", "unit", "zscored"] = "off"
    checkpoint_every: int = Field(default=50, ge=1)
    log_every: int = Field(default=10, ge=1)
    amp: bool = False


def finetune(
    labeled: Sequence[Example],
    sam: Sam,
    arm: Arm,
    stitcher: MosaicStitcher,
    given: FinetuneSettings,
    work: Path,
    seed: int,
    report: Report | None = None,
    *,
    start: Path | None = None,
    carry: bool = False,
    window: Window | None = None,
    mining: Mining | None = None,
) -> dict[str, Any]:
    """Train what an arm trains and write it into `work`, with record and loss curve.

    Every iteration draws from its own seed, so a training that was cut goes on from
    `work/_checkpoint.pt` and ends bit for bit where an uncut one does. `sam` is left as it is.

    Args:
        labeled: volumes with masks; 255 in a mask (unannotated slices) is ignored.
        report: called with (iterations done, all iterations, {"loss": ...}).
        start: folder of an adapter to go on from, in place of a fresh one.
        carry: take the optimiser's moments from there too, and leave those of this training.
        window: of all volumes (CT); None = from each volume's own intensities.
        mining: of hard negatives; None = every annotated mosaic is as likely.

    Returns:
        The record: counts of parameters, cases, settings, last loss; no times.

    Raises:
        TrainingError: nothing is annotated, or the loss is not finite (the cases are named).
        ConfigError: a module of the arm does not exist, or a slice does not fit the mosaic.

    Source: SFR section 1.2 (stage F_FT), with the loss of the measured prototype.
    """
    check_labeled(labeled, len(sam.prompts))
    if given.amp and sam.device.type != "cuda":
        raise ConfigError("finetune.amp: bfloat16 autocast is for CUDA (it is slower on a CPU)")
    training = _Training(labeled, sam, arm, stitcher, given, seed, window, mining)
    if start is not None:
        training.go_on(start, carry)
    cases = sorted(e.case_id for e in labeled)
    key = content_key(dump(given), type(arm).__name__, dump(arm), seed, cases)
    done = training.resume(work, key)
    last = given.iterations if training.parameters else 0  # zero-shot: nothing to train
    with torch.random.fork_rng(devices=[]):
        for iteration in range(done, last):
            loss = training.step(iteration)
            _log(work, iteration + 1, given, loss, report)
            if (iteration + 1) % given.checkpoint_every == 0:
                training.checkpoint(work, key, iteration + 1)
    save_adapted(training.sam, work)
    if carry:
        training.keep_moments(work)
    return _recorded(training, cases, last, work)


def _recorded(training: _Training, cases: list[Any], iterations: int, work: Path) -> dict[str, Any]:
    losses = [None, *(line["loss"] for line in read_lines(work / LOG))]
    record = describe_adapted(training.sam) | {
        "cases": cases,
        "iterations": iterations,
        "last_loss": losses[-1],
    }
    write_json(work / RECORD, record)
    return record


def learning_rate(given: FinetuneSettings, iteration: int) -> float:
    """Linear warm-up, then cosine or polynomial (power 0.9) decay to 0."""
    warm = round(given.warmup * given.iterations)
    if iteration < warm:
        return given.learning_rate * (iteration + 1) / warm
    share = (iteration - warm) / max(1, given.iterations - warm)
    decay = 0.5 * (1 + math.cos(math.pi * share))
    return given.learning_rate * (decay if given.schedule == "cosine" else (1 - share) ** 0.9)


class _Training:
    """Model, optimiser and data of one training."""

    def __init__(
        self,
        labeled: Sequence[Example],
        sam: Sam,
        arm: Arm,
        stitcher: MosaicStitcher,
        given: FinetuneSettings,
        seed: int,
        window: Window | None = None,
        mining: Mining | None = None,
    ) -> None:
        self.sam = sam = arm.adapt(sam, seed).train()
        self.mosaics = LabeledMosaics(
            labeled, stitcher, given.augment, sam.resolution, sam.patch, given.bezier, window
        )
        self.mining = mining
        self.given = given
        self.seed = seed
        self.parameters = trainable(sam)
        self.optimizer = torch.optim.AdamW(
            _groups(self.parameters, arm, len(sam.backbone.layers)),
            betas=given.betas,
            weight_decay=given.weight_decay,
        )

    def step(self, iteration: int) -> float:
        """One update; the loss before it."""
        rng = np.random.default_rng([self.seed, iteration])
        torch.manual_seed(int(rng.integers(2**63)))  # dropout
        if self.mining is not None:
            self.mining.refresh(iteration, self.given.iterations, self.sam, self.mosaics)
        pick = self.mining.pick if self.mining else None
        images, target, cases = self.mosaics.draw(self.given.batch, rng, pick)
        images, target = images.to(self.sam.device), target.to(self.sam.device)
        amp = self.given.amp and self.sam.device.type == "cuda"
        with torch.autocast(self.sam.device.type, torch.bfloat16, enabled=amp):
            logits = self.sam(images)
        loss = self._loss(logits.float(), target)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"fine-tuning: the loss is {loss.item()} at iteration {iteration + 1}, with the "
                f"cases {', '.join(cases)}: check their images for NaN, or lower "
                "finetune.learning_rate"
            )
        self._update(loss, iteration)
        return loss.item()

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        given = self.given
        if given.loss == "sfr":
            return sfr_loss(logits, target, given.void)
        loss = prompt_loss(logits, target, given)
        return loss if self.mining is None else loss + self.mining.loss(logits, target)

    def go_on(self, folder: Path, carry: bool) -> None:
        """Take the weights of a saved adapter, and with `carry` the optimiser's moments."""
        go_on_from(self.sam, folder)
        if carry:
            self.optimizer.load_state_dict(self._read(folder / MOMENTS))

    def keep_moments(self, folder: Path) -> None:
        """Write what `go_on` with `carry` reads."""
        with atomic(folder / MOMENTS) as path:
            torch.save(self.optimizer.state_dict(), path)

    def _read(self, path: Path) -> dict[str, Any]:
        if not path.exists():
            raise WeightsError(
                f"{path}: missing; the adapter before was trained with sfr_plus.optimiser=fresh, "
                "and 'carried' needs its moments: use another store or optimiser=fresh"
            )
        state: dict[str, Any] = torch.load(path, map_location=self.sam.device, weights_only=True)
        return state

    def checkpoint(self, work: Path, key: str, done: int) -> None:
        """Everything that the next iteration depends on."""
        state = {
            "key": key,
            "done": done,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "mining": self.mining.state() if self.mining else {},
        }
        with atomic(work / CHECKPOINT) as path:
            torch.save(state, path)

    def resume(self, work: Path, key: str) -> int:
        """Iterations done before; lines of the log after them are dropped."""
        work.mkdir(parents=True, exist_ok=True)
        state = self._stored(work / CHECKPOINT, key)
        done = int(state["done"]) if state else 0
        if state:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(state["parameters"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.mining is not None:
                self.mining.load(state["mining"])
        kept = [line for line in read_lines(work / LOG) if line["iteration"] <= done]
        write_text(work / LOG, "".join(canonical(line) + "\n" for line in kept))
        return done

    def _stored(self, path: Path, key: str) -> dict[str, Any] | None:
        if not path.exists():
            return None
        state: dict[str, Any] = torch.load(path, map_location=self.sam.device, weights_only=True)
        return state if state["key"] == key else None

    def _update(self, loss: Tensor, iteration: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * learning_rate(self.given, iteration)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.given.clip)
        self.optimizer.step()


def _groups(parameters: Mapping[str, Tensor], arm: Arm, blocks: int) -> list[dict[str, Any]]:
    """Parameters of one learning rate each; an arm may scale it by the depth of a layer."""
    scale_of = getattr(arm, "rate_scale", lambda name, blocks: 1.0)
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(scale_of(name, blocks), []).append(parameter)
    groups = groups or {1.0: [torch.zeros(0)]}  # zero-shot: an optimiser wants something
    return [{"params": tensors, "scale": scale} for scale, tensors in groups.items()]


def _log(
    work: Path, done: int, given: FinetuneSettings, loss: float, report: Report | None
) -> None:
    if done % given.log_every and done != given.iterations:
        return
    append_line(work / LOG, {"iteration": done, "loss": round(loss, 6)})
    if report is not None:
        report(done, given.iterations, {"loss": loss})
