"""Fine-tuning: an adapter of SAM3 learns from stitched labeled volumes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from loops.learning.oom import Portions
from loops.tuning.cache import CacheSettings, mosaics_for
from loops.tuning.checks import refuse_unfit
from loops.tuning.data import Drawn, check_labeled
from loops.tuning.loss import SemanticSettings, prompt_loss, semantic_loss, sfr_loss
from loops.tuning.mining import Mining
from loops.tuning.rates import learning_rate, parameter_groups
from loops.tuning.record import LOG, Report, log_loss, recorded
from loops.tuning.state import read_checkpoint, read_moments, write_checkpoint, write_moments
from salearn.data.augment import AugmentSettings
from salearn.data.patches import Example
from salearn.errors import ConfigError, TrainingError
from salearn.hard_negatives import NegativeSettings
from salearn.models.adapted import go_on_from, save_adapted
from salearn.models.arms.registry import Arm
from salearn.models.lora import trainable
from salearn.models.pair import SamPair, TeacherSettings
from salearn.models.pixels import Window
from salearn.models.sam3 import Sam
from salearn.mosaic import MosaicStitcher
from salearn.settings import Field, keyed, settings
from salearn.store import canonical, content_key, read_lines, write_text

SMALLER = "set a smaller sam.resolution, or take a smaller SAM3 (sam.weights)"


@settings
class FinetuneSettings:
    """How an adapter is trained. Defaults are for mini (real SAM3: learning_rate about 1e-4).

    Attributes:
        batch: mosaics in a step; with stitch.policy "single" these are slices.
        warmup: share of the iterations in which the rate rises linearly.
        clip: greatest norm of the gradient.
        positive_weight: of foreground pixels in the cross-entropy.
        bce_weight, dice_weight: of the two terms.
        loss: "prompt" = each prompt against everything else, with the weights above; "sfr" = half
            Dice, half CE of the softmax over background and classes (SFR eq. 5); "semantic" =
            Dice, focal loss, presence and hard negatives, with the weights of `semantic`.
        void: with loss=sfr, void pixels are "ignored", or stay "in_dice" as in SFR's code.
        bezier: random monotone map of half of the slices: "off", on slices brought to 0..1
            ("unit"), or on normalised intensities as they are ("zscored", SFR's code).
        mining: tiers of hard negatives, {prompt, slice, pixel, boundary: true or false, ...};
            None = every annotated mosaic is as likely. A 4-D job has `mining` and `negatives`.
        cache: {copies: 4, dtype: float16, max_gib: 20}; features behind the frozen blocks are
            computed once per mosaic, of so many augmented copies; None = nothing is kept.
        teacher: {decay: 0.99}; the running mean of what is trained is saved; None = the last.
        checkpoint_every, log_every: iterations.
        amp: bfloat16 autocast, on CUDA only.
    """

    LATER: ClassVar[tuple[str, ...]] = ("loss", "void", "bezier")
    NEWER: ClassVar[tuple[str, ...]] = ("semantic", "mining", "cache", "teacher")
    iterations: int = Field(default=300, ge=1)
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
    loss: Literal["prompt", "sfr", "semantic"] = "prompt"
    void: Literal["ignored", "in_dice"] = "ignored"
    bezier: Literal["off", "unit", "zscored"] = "off"
    semantic: SemanticSettings = SemanticSettings()
    mining: NegativeSettings | None = None
    cache: CacheSettings | None = None
    teacher: TeacherSettings | None = None
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
        mining: of hard negatives; None = what the settings say.

    Returns:
        The record: counts of parameters, cases, settings, last loss; no times.

    Raises:
        TrainingError: nothing is annotated, or the loss is not finite (the cases are named).
        ConfigError: a module of the arm does not exist, a slice does not fit the mosaic, or the
            loss needs what `sam` does not give.

    Source: SFR section 1.2 (stage F_FT), with the loss of the measured prototype.
    """
    check_labeled(labeled, len(sam.prompts))
    if given.amp and sam.device.type != "cuda":
        raise ConfigError("finetune.amp: bfloat16 autocast is for CUDA (it is slower on a CPU)")
    mining = mining or (Mining(given.mining, seed) if given.mining else None)
    training = _Training(labeled, sam, arm, stitcher, given, seed, window, mining)
    if start is not None:
        training.go_on(start, carry)
    cases = sorted(e.case_id for e in labeled)
    key = content_key(keyed(given), type(arm).__name__, keyed(arm), seed, cases)
    last = given.iterations if training.parameters else 0  # zero-shot: nothing to train
    with torch.random.fork_rng(devices=[]):
        for iteration in range(training.resume(work, key), last):
            loss = training.step(iteration)
            log_loss(work, iteration + 1, given, loss, report)
            if (iteration + 1) % given.checkpoint_every == 0:
                training.checkpoint(work, key, iteration + 1)
    save_adapted(training.pair.teacher if training.pair else training.sam, work)
    if carry:
        write_moments(work, training.optimizer)
    record = recorded(training.sam, training.mining, cases, last, work, training.told())
    training.mosaics.close()
    return record


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
        self.mosaics = mosaics_for(labeled, stitcher, given, sam, seed, window)
        self.pair = SamPair(sam, given.teacher) if given.teacher else None
        self.mining = mining
        self.given = given
        self.seed = seed
        self.parameters = trainable(sam)
        self.portions = Portions(nets=[], generators={}, remedy=SMALLER)  # no batch norm in SAM3
        mined = None if mining is None else mining.given
        refuse_unfit(sam.settings, given, mined, trains=bool(self.parameters))
        if mining is not None:
            mining.prepare(self.mosaics, len(sam.prompts))
        self.optimizer = torch.optim.AdamW(
            parameter_groups(self.parameters, arm, len(sam.backbone.layers)),
            betas=given.betas,
            weight_decay=given.weight_decay,
        )

    def step(self, iteration: int) -> float:
        """One update; the loss before it."""
        rng = np.random.default_rng([self.seed, iteration])
        torch.manual_seed(int(rng.integers(2**63)))  # dropout
        if self.mining is not None:
            self.mining.refresh(iteration, self.given.iterations, self.sam, self.mosaics)
        mining = self.mining
        drawn = self.mosaics.sample(
            self.given.batch,
            rng,
            mining.picker if mining else None,
            mining.mapper if mining else None,
        )
        loss: float = self.portions.step(iteration, lambda: self._descend(drawn, iteration))
        self._update(iteration)
        return loss

    def _descend(self, drawn: Drawn, iteration: int) -> float:
        """The gradient of one step; the loss."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._loss(drawn, iteration)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"fine-tuning: the loss is {loss.item()} at iteration {iteration + 1}, with the "
                f"cases {', '.join(drawn.cases)}: check their images for NaN, or lower "
                "finetune.learning_rate"
            )
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.item()

    def _loss(self, drawn: Drawn, iteration: int) -> Tensor:
        given, mining, device = self.given, self.mining, self.sam.device
        target = drawn.target.to(device)
        maps = None if drawn.maps is None else drawn.maps.to(device)
        wants = given.loss == "semantic" and given.semantic.presence > 0
        with torch.autocast(
            device.type, torch.bfloat16, enabled=given.amp and device.type == "cuda"
        ):
            images = drawn.images.to(device)
            further = mining.further(self.sam, iteration, len(images)) if mining else None
            run = self.mosaics.answer(self.sam)
            answer, presence = self.portions.call(run, images, wants, further)
        asked = answer.float()
        logits = asked[:, : len(self.sam.prompts)]
        if given.loss == "sfr":
            return sfr_loss(logits, target, given.void)
        weights = mining.weights(logits, target, maps) if mining else None
        if given.loss == "prompt":
            loss = prompt_loss(logits, target, given, weights)
            return loss + mining.loss(asked, target, maps) if mining else loss
        loss = semantic_loss(logits, presence, target, given.semantic, weights)
        if mining is None or not given.semantic.negatives:
            return loss
        return loss + mining.loss(asked, target, maps, given.semantic.negatives)

    def go_on(self, folder: Path, carry: bool) -> None:
        """Take the weights of a saved adapter, and with `carry` the optimiser's moments."""
        go_on_from(self.sam, folder)
        if carry:
            self.optimizer.load_state_dict(read_moments(folder, self.sam.device))

    def told(self) -> dict[str, Any]:
        """What the record says beside counts and cases; None = nothing."""
        cache, teacher = self.mosaics.told(), self.pair.told() if self.pair else None
        pool = self.sam.pool if self.mining and self.mining.given.generic.count else None
        generic = pool and {"texts": pool.texts, "dropped": pool.dropped}
        return {"oom": self.portions.told, "cache": cache, "teacher": teacher, "generic": generic}

    def checkpoint(self, work: Path, key: str, done: int) -> None:
        """Everything that the next iteration depends on."""
        state = {
            "key": key,
            "done": done,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "mining": self.mining.state() if self.mining else {},
            "portions": self.portions.state(),
            "cache": self.mosaics.state(),
            "teacher": self.pair.state() if self.pair else {},
        }
        write_checkpoint(work, state)

    def resume(self, work: Path, key: str) -> int:
        """Iterations done before; lines of the log after them are dropped."""
        work.mkdir(parents=True, exist_ok=True)
        state = read_checkpoint(work, key, self.sam.device)
        self.mosaics.open(work, state.get("cache") if state else None)
        done = int(state["done"]) if state else 0
        if state:
            with torch.no_grad():
                for name, parameter in self.parameters.items():
                    parameter.copy_(state["parameters"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            self.portions.take(state.get("portions", {}))
            if self.mining is not None:
                self.mining.load(state["mining"])
            if self.pair is not None:
                self.pair.load(state["teacher"])
        kept = [line for line in read_lines(work / LOG) if line["iteration"] <= done]
        write_text(work / LOG, "".join(canonical(line) + "\n" for line in kept))
        return done

    def _update(self, iteration: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["scale"] * learning_rate(self.given, iteration)
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.given.clip)
        self.optimizer.step()
        if self.pair is not None:
            self.pair.update()
