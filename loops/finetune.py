"""Fine-tuning: an adapter of SAM3 learns from stitched labeled volumes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from loops.finetune_data import LabeledMosaics, check_labeled
from salearn.cases import IGNORE
from salearn.data.augment import AugmentSettings
from salearn.data.patches import Example
from salearn.errors import ConfigError, TrainingError
from salearn.models.lora import LoraSettings, adapt, describe, save_adapter, trainable
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
SMOOTH = 1.0


@settings
class FinetuneSettings:
    """How an adapter is trained. Defaults are for tiny (real SAM3: learning_rate about 1e-4).

    Attributes:
        batch: mosaics in a step; with stitch.policy "single" these are slices.
        warmup: share of the iterations in which the rate rises linearly.
        clip: greatest norm of the gradient.
        positive_weight: of foreground pixels in the cross-entropy.
        bce_weight, dice_weight: of the two terms.
        checkpoint_every, log_every: iterations.
        amp: bfloat16 autocast, on CUDA only.
    """

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
    checkpoint_every: int = Field(default=50, ge=1)
    log_every: int = Field(default=10, ge=1)
    amp: bool = False


def finetune(
    labeled: Sequence[Example],
    sam: Sam,
    lora: LoraSettings,
    stitcher: MosaicStitcher,
    given: FinetuneSettings,
    work: Path,
    seed: int,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train an adapter and write it into `work`, in peft's format, with record and loss curve.

    Every iteration draws from its own seed, so a training that was cut goes on from
    `work/_checkpoint.pt` and ends bit for bit where an uncut one does. `sam` is left as it is.

    Args:
        labeled: volumes with masks; 255 in a mask (unannotated slices) is ignored.
        report: called with (iterations done, all iterations, {"loss": ...}).

    Returns:
        The record: counts of parameters, cases, settings, last loss; no times.

    Raises:
        TrainingError: nothing is annotated, or the loss is not finite (the cases are named).
        ConfigError: a target of `lora` does not exist, or a slice does not fit the mosaic.

    Source: SFR section 1.2 (stage F_FT), with the loss of the measured prototype.
    """
    check_labeled(labeled, len(sam.prompts))
    if given.amp and sam.device.type != "cuda":
        raise ConfigError("finetune.amp: bfloat16 autocast is for CUDA (it is slower on a CPU)")
    training = _Training(labeled, adapt(sam, lora, seed), stitcher, given, seed)
    key = content_key(dump(given), dump(lora), seed, sorted(e.case_id for e in labeled))
    done = training.resume(work, key)
    with torch.random.fork_rng(devices=[]):
        for iteration in range(done, given.iterations):
            loss = training.step(iteration)
            _log(work, iteration + 1, given, loss, report)
            if (iteration + 1) % given.checkpoint_every == 0:
                training.checkpoint(work, key, iteration + 1)
    save_adapter(training.sam, work)
    record = describe(training.sam) | {
        "cases": sorted(e.case_id for e in labeled),
        "iterations": given.iterations,
        "last_loss": read_lines(work / LOG)[-1]["loss"],
    }
    write_json(work / RECORD, record)
    return record


def prompt_loss(
    logits: Float[Tensor, "b class h w"], target: Int[Tensor, "b h w"], given: FinetuneSettings
) -> Float[Tensor, ""]:
    """Weighted cross-entropy and Dice of each prompt against everything else.

    Pixels of value 255 (void, unannotated) reach neither term.
    """
    known = (target != IGNORE).unsqueeze(1).to(logits.dtype)
    classes = torch.arange(1, logits.shape[1] + 1, device=target.device).view(1, -1, 1, 1)
    truth = (target.unsqueeze(1) == classes).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        logits,
        truth,
        weight=known,
        pos_weight=torch.tensor(given.positive_weight, device=logits.device),
        reduction="sum",
    ) / (known.sum() * logits.shape[1]).clamp_min(1)
    probability = torch.sigmoid(logits) * known
    axes = (0, 2, 3)
    overlap, size = (probability * truth).sum(axes), (probability + truth).sum(axes)
    dice = (1 - (2 * overlap + SMOOTH) / (size + SMOOTH)).mean()
    return given.bce_weight * entropy + given.dice_weight * dice


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
        stitcher: MosaicStitcher,
        given: FinetuneSettings,
        seed: int,
    ) -> None:
        self.sam = sam.train()
        self.mosaics = LabeledMosaics(labeled, stitcher, given.augment, sam.resolution, sam.patch)
        self.given = given
        self.seed = seed
        self.parameters = trainable(sam)
        self.optimizer = torch.optim.AdamW(
            self.parameters.values(), betas=given.betas, weight_decay=given.weight_decay
        )

    def step(self, iteration: int) -> float:
        """One update; the loss before it."""
        rng = np.random.default_rng([self.seed, iteration])
        torch.manual_seed(int(rng.integers(2**63)))  # dropout
        images, target, cases = self.mosaics.draw(self.given.batch, rng)
        images, target = images.to(self.sam.device), target.to(self.sam.device)
        amp = self.given.amp and self.sam.device.type == "cuda"
        with torch.autocast(self.sam.device.type, torch.bfloat16, enabled=amp):
            logits = self.sam(images)
        loss = prompt_loss(logits.float(), target, self.given)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"fine-tuning: the loss is {loss.item()} at iteration {iteration + 1}, with the "
                f"cases {', '.join(cases)}: check their images for NaN, or lower "
                "finetune.learning_rate"
            )
        self._update(loss, iteration)
        return loss.item()

    def checkpoint(self, work: Path, key: str, done: int) -> None:
        """Everything that the next iteration depends on."""
        state = {
            "key": key,
            "done": done,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
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
            group["lr"] = learning_rate(self.given, iteration)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.given.clip)
        self.optimizer.step()


def _log(
    work: Path, done: int, given: FinetuneSettings, loss: float, report: Report | None
) -> None:
    if done % given.log_every and done != given.iterations:
        return
    append_line(work / LOG, {"iteration": done, "loss": round(loss, 6)})
    if report is not None:
        report(done, given.iterations, {"loss": loss})
