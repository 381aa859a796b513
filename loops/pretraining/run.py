"""Pretraining: a small SAM3 learns from generated scenes to do what text prompts ask."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from loops.pretraining.data import Batch, MakeStitcher, draw_batch
from loops.pretraining.recipe import PretrainSettings, learning_rate, phase_of, recipe_hash
from loops.pretraining.scenes import ScenePictures
from salearn.errors import ConfigError, TrainingError, WeightsError
from salearn.models.pretexts.mae import Mae
from salearn.models.sam3 import Sam, SamSettings
from salearn.models.sam3_mini import TextTower, new_mini, save_mini
from salearn.settings import dump
from salearn.store import append_line, atomic, canonical, read_lines, write_text

Report = Callable[[int, int, dict[str, float]], None]
CHECKPOINT, LOG = "_checkpoint.pt", "train.jsonl"
SMOOTH = 1.0


def pretrain(
    given: PretrainSettings,
    make: MakeStitcher,
    out: Path,
    resume: bool = False,
    report: Report | None = None,
) -> dict[str, Any]:
    """Train, and write weights that `sam.weights` can name into `out`/mini.

    Step n draws from (seed, n), so a training that was cut goes on from its checkpoint and ends
    bit for bit where an uncut one does (on one machine and device).

    Args:
        make: lays slices out. report: called with (steps done, all steps, means since the last).

    Raises:
        ConfigError: `out` holds a training and `resume` is not set, or one of another recipe.
        TrainingError: the loss is not finite.
    """
    training = _Training(given, make)
    done = training.start(out, resume)
    if given.mae is not None and not done:
        training.complete_pictures(given.mae, out / f"mae-{recipe_hash(given)}", report)
    meter = _Meter()
    for step in range(done, given.steps):
        meter.add(training.step(step))
        if (step + 1) % given.log_every == 0 or step + 1 == given.steps:
            line = meter.read()
            append_line(out / LOG, {"step": step + 1} | line)
            if report is not None:
                report(step + 1, given.steps, line)
        if (step + 1) % given.checkpoint_every == 0 or step + 1 == given.steps:
            training.checkpoint(out, step + 1)
    return export(given, out)


def export(given: PretrainSettings, out: Path) -> dict[str, Any]:
    """Write the averaged weights of the last checkpoint in `out` into `out`/mini.

    Raises:
        ConfigError: there is no checkpoint, or it is of another recipe.
    """
    state = _stored(out, given, torch.device("cpu"))
    if state is None:
        raise ConfigError(f"{out}: no checkpoint of a pretraining to export")
    model, tokenizer = new_mini(given.size, given.seed)
    model.load_state_dict(state["average"])
    done = state["done"]
    record = {
        "recipe": dump(given),
        "recipe_hash": recipe_hash(given),
        "steps_done": done,
        "parameters": sum(p.numel() for p in model.parameters()),
        "last": next((x for x in reversed(read_lines(out / LOG)) if x["step"] <= done), {}),
    }
    save_mini(model, tokenizer, record, out / "mini")
    return record | {"folder": str(out / "mini")}


def pretrain_loss(
    logits: Float[Tensor, "b prompt side side"], batch: Batch, given: PretrainSettings
) -> tuple[Float[Tensor, ""], Float[Tensor, "b prompt"]]:
    """Weighted cross-entropy of all, Dice of the prompts that mean something; and that Dice.

    Void pixels reach neither term. Where a prompt means nothing in an image its Dice is NaN.
    """
    weight = batch.known.expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(
        logits,
        batch.truth,
        weight=weight,
        pos_weight=torch.tensor(given.positive_weight, device=logits.device),
        reduction="sum",
    ) / weight.sum().clamp_min(1)
    probability = torch.sigmoid(logits) * batch.known
    size = batch.truth.sum((2, 3))
    overlap = (probability * batch.truth).sum((2, 3))
    dice = (2 * overlap + SMOOTH) / (probability.sum((2, 3)) + size + SMOOTH)
    asked = size > 0
    miss = ((1 - dice) * asked).sum() / asked.sum().clamp_min(1)
    loss = given.bce_weight * entropy + given.dice_weight * miss
    with torch.no_grad():
        hard = (logits > 0).float() * batch.known
        score = 2 * (hard * batch.truth).sum((2, 3)) / (hard.sum((2, 3)) + size)
    return loss, score.masked_fill(~asked, math.nan)


class _Training:
    """Model, its average, optimiser and data."""

    def __init__(self, given: PretrainSettings, make: MakeStitcher) -> None:
        if given.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("device: cuda is asked for, but torch sees no CUDA device; use cpu")
        self.given, self.make = given, make
        model, self.tokenizer = new_mini(given.size, given.seed)
        self.names = list(model.state_dict())
        self.text = TextTower.of(model)
        blank = self.text(*self.tokenizer.encode(["object"]))
        self.sam = Sam(model, SamSettings(), ["object"], (blank.detach(), torch.ones(1, 1) > 0))
        self.both = nn.ModuleList([self.sam, self.text]).to(given.device)
        self.both.requires_grad_(True).train()
        self.average = {name: value.clone() for name, value in self._state().items()}
        parameters = list(self.both.parameters())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in parameters if p.ndim > 1]},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.parameters = parameters
        self.optimizer = torch.optim.AdamW(
            groups, betas=given.betas, weight_decay=given.weight_decay
        )

    def start(self, out: Path, resume: bool) -> int:
        """Steps done before; lines of the log after them are dropped."""
        state = _stored(out, self.given, torch.device(self.given.device))
        if state is not None and not resume:
            raise ConfigError(
                f"{out} holds a pretraining of {state['done']} steps: go on with --resume, or name "
                "another folder"
            )
        done = int(state["done"]) if state else 0
        if state is not None:
            self._load(state["model"])
            self.average = state["average"]
            self.optimizer.load_state_dict(state["optimizer"])
        kept = [line for line in read_lines(out / LOG) if line["step"] <= done]
        write_text(out / LOG, "".join(canonical(line) + "\n" for line in kept))
        return done

    def complete_pictures(self, mae: Mae, work: Path, report: Report | None) -> None:
        """Begin with a trunk that masked autoencoding of generated scenes has trained."""
        pool = ScenePictures(self.given, mae.shown(self.sam), self.make, self.sam.patch)
        trunk = mae.fit(self.sam, pool, pool, work, report)
        with torch.no_grad():
            for name, value in self._state().items():
                if name in trunk:
                    value.copy_(trunk[name])
                    self.average[name].copy_(trunk[name])

    def step(self, step: int) -> dict[str, list[float]]:
        """One update; loss and Dice by kind of prompt before it."""
        rng = np.random.default_rng([self.given.seed, step])
        phase = phase_of(self.given, step)
        batch = draw_batch(phase, self.given.scenes, self.make, self.sam.patch, rng)
        batch = _to(batch, self.given.device)
        ids, mask = (t.to(self.given.device) for t in self.tokenizer.encode(batch.prompts))
        self.sam.prompts = tuple(batch.prompts)
        self.sam.prompt_embeddings = self.text(ids, mask)
        self.sam.prompt_mask = mask.bool()
        self.sam._set_resolution(batch.images.shape[-1])
        loss, score = pretrain_loss(self.sam(batch.images), batch, self.given)
        if not torch.isfinite(loss):
            raise TrainingError(
                f"pretraining: the loss is {loss.item()} at step {step + 1}; lower learning_rate"
            )
        self._update(loss, step)
        found: dict[str, list[float]] = {"loss": [loss.item()]}
        for kind, column in zip(batch.kinds, score.T.tolist(), strict=True):
            found.setdefault(f"dice_{kind}", []).extend(v for v in column if not math.isnan(v))
        return found

    def checkpoint(self, out: Path, done: int) -> None:
        """Everything that the next step depends on."""
        state = {
            "recipe_hash": recipe_hash(self.given),
            "done": done,
            "model": self._state(),
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }
        with atomic(out / CHECKPOINT) as path:
            torch.save(state, path)

    def _update(self, loss: Tensor, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.given, step)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.parameters, self.given.clip)
        self.optimizer.step()
        decay = min(self.given.ema, (1 + step) / (10 + step))
        state = self._state()
        with torch.no_grad():
            for name, value in self.average.items():
                if value.is_floating_point():
                    value.lerp_(state[name], 1 - decay)

    def _state(self) -> dict[str, Tensor]:
        """Weights under the names of the whole model."""
        state = dict(self.sam.model.state_dict()) | self.text.named()
        return {name: state[name].detach() for name in self.names}

    def _load(self, stored: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in self._state().items():
                value.copy_(stored[name])


class _Meter:
    """Means of what was seen since it was read last."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def add(self, values: dict[str, list[float]]) -> None:
        for name, numbers in values.items():
            self.seen.setdefault(name, []).extend(numbers)

    def read(self) -> dict[str, float]:
        means = {name: round(float(np.mean(v)), 4) for name, v in sorted(self.seen.items()) if v}
        self.seen = {}
        return means


def _to(batch: Batch, device: str) -> Batch:
    return Batch(
        images=batch.images.to(device),
        truth=batch.truth.to(device),
        known=batch.known.to(device),
        prompts=batch.prompts,
        kinds=batch.kinds,
    )


def _stored(out: Path, given: PretrainSettings, device: torch.device) -> dict[str, Any] | None:
    path = out / CHECKPOINT
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    except Exception as error:  # zip, pickle and torch raise their own kinds for damage
        raise WeightsError(f"{path}: the checkpoint is damaged ({error}); delete it") from error
    if state["recipe_hash"] != recipe_hash(given):
        raise ConfigError(
            f"{out} holds a pretraining of another recipe ({state['recipe_hash']}, asked for "
            f"{recipe_hash(given)}): name another folder"
        )
    return state
