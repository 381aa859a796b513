"""Clicks learnt on generated scenes: prompt encoder and mask decoder of the small tracker."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from loops.interactive.scenes import Slices, draw_slices
from salearn.data.procedural import CODE_VERSION, SceneSettings
from salearn.errors import TrainingError
from salearn.models.interactive.tracker import MASK_LIMIT, Tracker
from salearn.models.interactive.tracker_weights import (
    RECORD,
    WEIGHTS,
    TrackerSettings,
    mini_frame,
    trained_part,
)
from salearn.prompts.boxes import tight_box
from salearn.prompts.clicks import next_click
from salearn.prompts.geometry import Click
from salearn.settings import Field, dump, settings
from salearn.store import atomic, content_key, write_json

Report = Callable[[int, int, dict[str, float]], None]
PADDING = -10  # the tracker's sign of a point that is not there
LOG_EVERY = 20
START = 4.0  # logit of an answer that a training example starts from


@settings
class ClickTraining:
    """The recipe of the clicks that ship with salearn-mini.

    Attributes:
        batch: slices of a step. clicks: most clicks on each of them.
        boxed: share of steps that begin with a box. started: that begin with a wrong answer.
        warmup: share of the steps in which the rate rises linearly; then a cosine to 0.
    """

    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=1500, ge=1)
    batch: int = Field(default=12, ge=2)
    clicks: int = Field(default=3, ge=1)
    boxed: float = Field(default=0.2, ge=0, le=1)
    started: float = Field(default=0.3, ge=0, le=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.03, ge=0, lt=1)
    weight_decay: float = Field(default=0.01, ge=0)
    scenes: SceneSettings = SceneSettings(anatomy=0.5)
    tracker: TrackerSettings = TrackerSettings()


def train_clicks(given: ClickTraining, out: Path, report: Report | None = None) -> dict[str, Any]:
    """Train, and write what differs from salearn-mini into `out` (float16, with its recipe).

    Step n draws from (seed, n). Vision stays as it is: a neck that learns along makes its maps 20
    times larger within 200 steps, and no click is heard any more (measured).

    Raises:
        TrainingError: the loss is not finite.
    """
    from safetensors.torch import save_file

    tracker = Tracker(mini_frame(given.tracker), given.tracker)
    learnt = list(trainable(tracker))
    optimizer = torch.optim.AdamW(learnt, given.learning_rate, weight_decay=given.weight_decay)
    seen: list[dict[str, float]] = []
    for step in range(given.steps):
        loss, dice = train_step(tracker, given, np.random.default_rng([given.seed, step]))
        seen.append({"loss": loss.item()} | dice)
        if not torch.isfinite(loss):
            raise TrainingError(f"clicks: the loss is {loss.item()} at step {step + 1}")
        for group in optimizer.param_groups:
            group["lr"] = given.learning_rate * _rate(given, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        if report is not None and (step + 1) % LOG_EVERY == 0:
            recent = seen[-LOG_EVERY:]
            means = {name: float(np.mean([line[name] for line in recent])) for name in recent[0]}
            report(step + 1, given.steps, means)
    out.mkdir(parents=True, exist_ok=True)
    part = {name: v.half().contiguous() for name, v in trained_part(tracker.model).items()}
    with atomic(out / WEIGHTS) as path:
        save_file(part, str(path))
    record = {
        "recipe": dump(given),
        "recipe_hash": content_key("clicks", CODE_VERSION, dump(given)),
        "parameters": sum(p.numel() for p in learnt),
    }
    write_json(out / RECORD, record)
    return record


def trainable(tracker: Tracker) -> list[Tensor]:
    """Everything but vision, made trainable."""
    frozen = {id(p) for p in tracker.model.vision_encoder.parameters()}
    found = [p for p in tracker.model.parameters() if id(p) not in frozen]
    for parameter in found:
        parameter.requires_grad_(True)
    return found


def train_step(
    tracker: Tracker, given: ClickTraining, rng: np.random.Generator
) -> tuple[Float[Tensor, ""], dict[str, float]]:
    """Loss over a dialogue of clicks on fresh slices, and the Dice after its first and last."""
    grid = int(tracker.model.prompt_encoder.mask_input_size[0])
    slices = draw_slices(given.scenes, given.batch, tracker.side, grid, rng)
    maps = tracker.see(torch.from_numpy(slices.images).repeat(1, 3, 1, 1))
    truth = torch.from_numpy(slices.targets.astype(np.float32))
    logits, boxes = _opening(slices, given, tracker.side / grid, rng)
    dialogue = _Dialogue(slices.targets, tracker.side / grid)
    losses: list[Tensor] = []
    scores: list[float] = []
    for turn in range(given.clicks):
        if boxes is None or turn > 0:
            dialogue.click(np.zeros_like(slices.targets) if logits is None else _shown(logits))
        points, signs = dialogue.tensors()
        logits = tracker.decode(
            maps,
            points,
            signs,
            boxes,
            None if logits is None else logits.detach().clamp(-MASK_LIMIT, MASK_LIMIT),
        )
        losses.append(_loss(logits[:, 0], truth))
        scores.append(_dice(_shown(logits), slices.targets))
    return torch.stack(losses).mean(), {"dice_1": scores[0], f"dice_{given.clicks}": scores[-1]}


class _Dialogue:
    """The clicks that were made on every slice of a batch."""

    def __init__(self, targets: Bool[np.ndarray, "b grid grid"], scale: float) -> None:
        self._targets, self._scale = targets, scale
        self._clicks: list[list[Click | None]] = [[] for _ in targets]

    def click(self, answers: Bool[np.ndarray, "b grid grid"]) -> None:
        """One more click on every slice, where something is left to correct."""
        for clicks, answer, target in zip(self._clicks, answers, self._targets, strict=True):
            clicks.append(next_click(answer, target, [c for c in clicks if c is not None]))

    def tensors(self) -> tuple[Tensor | None, Tensor | None]:
        """Points and signs as the tracker takes them; None before the first click."""
        if not self._clicks[0]:
            return None, None
        points = [[self._place(c) for c in clicks] for clicks in self._clicks]
        signs = [[PADDING if c is None else int(c.positive) for c in cs] for cs in self._clicks]
        return torch.tensor(points)[:, None], torch.tensor(signs)[:, None]

    def _place(self, click: Click | None) -> tuple[float, float]:
        if click is None:
            return 0.0, 0.0
        return (click.column + 0.5) * self._scale - 0.5, (click.row + 0.5) * self._scale - 0.5


def _opening(
    slices: Slices, given: ClickTraining, scale: float, rng: np.random.Generator
) -> tuple[Tensor | None, Tensor | None]:
    """How a dialogue begins: with nothing, a wrong answer, or boxes."""
    chance = rng.random()
    if chance < given.boxed:
        tight = [tight_box(target) for target in slices.targets]
        corners = torch.tensor([[b.left, b.top, b.right, b.bottom] for b in tight])
        return None, (corners * scale - 0.5)[:, None]
    if chance < given.boxed + given.started:
        return torch.from_numpy(np.where(slices.others, START, -START)).float()[:, None], None
    return None, None


def _shown(logits: Tensor) -> Bool[np.ndarray, "b grid grid"]:
    shown: np.ndarray = logits.detach()[:, 0].numpy() > 0
    return shown


def _loss(logits: Tensor, truth: Tensor) -> Tensor:
    entropy = functional.binary_cross_entropy_with_logits(logits, truth)
    p = torch.sigmoid(logits)
    dice = (2 * (p * truth).sum((1, 2)) + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
    return 2 * entropy + (1 - dice).mean()


def _dice(answers: np.ndarray, targets: np.ndarray) -> float:
    both = 2 * (answers & targets).sum((1, 2)) / (answers.sum((1, 2)) + targets.sum((1, 2)))
    return float(both.mean())


def _rate(given: ClickTraining, step: int) -> float:
    warm = max(1, round(given.warmup * given.steps))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, given.steps - warm)))
