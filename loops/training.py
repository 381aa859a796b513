"""One step of the student's training, and the state that survives a kill."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from loops.ssl.pseudo_label import PseudoLossSettings, pseudo_loss
from loops.ssl.registry import Host, Step
from loops.student_settings import StudentSettings
from salearn.cases import IGNORE
from salearn.data.augment import change_intensity, random_grid, warp, warp_mask
from salearn.data.patches import Crops, CropSampler, Example
from salearn.errors import TrainingError
from salearn.models.checkpoint import rng_state, set_rng_state
from salearn.models.ema import Ema
from salearn.models.vnet import VNet


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is learned from what; the examples are in the order of their case ids.

    Attributes:
        pseudo: the pseudo-label term, or None for the host alone.
    """

    labeled: Sequence[Example]
    unlabeled: Sequence[Example]
    channels: int
    num_classes: int
    host: Host
    pseudo: PseudoLossSettings | None
    seed: int

    def drawn(self) -> list[Example]:
        """The unlabeled examples that some term uses."""
        if self.host.unlabeled:
            return list(self.unlabeled)
        return [e for e in self.unlabeled if e.pseudo is not None] if self.pseudo else []


@dataclass(frozen=True, kw_only=True)
class View:
    """Crops after augmentation; `strong` has other intensities on the same voxels."""

    cases: tuple[str, ...]
    weak: Float[Tensor, "b channel x y z"]
    strong: Float[Tensor, "b channel x y z"] | None
    mask: Int[Tensor, "b x y z"]
    pseudo: Float[Tensor, "b class x y z"] | None
    confidence: Float[Tensor, " b"]


class Once(nn.Module):
    """A network that answers the same tensor from memory, so that two terms share one pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self._seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, image: Tensor) -> Tensor:
        """Logits of `net`."""
        for known, answer in self._seen:
            if known is image:
                return answer
        logits: Tensor = self.net(image)
        self._seen.append((image, logits))
        return logits


class Trainer:
    """Student, teacher, optimiser and generators of one training; `step` moves them on.

    Labeled crops, unlabeled crops and the host have generators of their own: with one seed all
    hosts start from the same weights and see the same labeled crops.
    """

    def __init__(self, task: Task, settings: StudentSettings) -> None:
        self.task = task
        self.settings = settings
        self.iteration = 0
        seeds = np.random.SeedSequence(task.seed).generate_state(5).tolist()
        names = ("labeled", "unlabeled", "host", "end")
        self.generators = {
            name: Generator().manual_seed(seed) for name, seed in zip(names, seeds, strict=False)
        }
        torch.manual_seed(seeds[-1])
        self.device = settings.place
        # Weights are drawn on the CPU: the same start on every device.
        self.student = VNet(task.channels, task.num_classes, settings.net).to(self.device)
        self.teacher = Ema(self.student, task.host.ema_decay)
        self.optimiser = settings.optimiser_of(self.student)
        self._labeled = self.sampler(task.labeled, settings.foreground_share)
        drawn = task.drawn() if settings.unlabeled_batch else []
        self._unlabeled = self.sampler(drawn) if drawn else None

    def sampler(self, examples: Sequence[Example], foreground_share: float = 0.0) -> CropSampler:
        """Crops of patch size plus the margin of augmentation."""
        margin = self.settings.augment.margin
        return CropSampler(examples, self.settings.patch, margin, foreground_share)

    def labeled_view(self) -> View:
        """The next labeled batch."""
        generator = self.generators["labeled"]
        crops = self._labeled.draw(self.settings.batch, generator)
        return self._view(crops, generator, strong=False)

    def unlabeled_view(self) -> View | None:
        """The next unlabeled batch, or None if no term uses any."""
        if self._unlabeled is None:
            return None
        generator = self.generators["unlabeled"]
        crops = self._unlabeled.draw(self.settings.unlabeled_batch, generator)
        return self._view(crops, generator, strong=self.task.host.unlabeled)

    def step(self) -> dict[str, float]:
        """One iteration; the weighted loss terms.

        Raises:
            TrainingError: a term or the gradient is not finite; it names the cases.
        """
        labeled, unlabeled = self.labeled_view(), self.unlabeled_view()
        self.student.train()
        terms = self._terms(labeled, unlabeled)
        values = {name: float(term.detach()) for name, term in terms.items()}
        self._check(values, labeled, unlabeled)
        self.optimiser.zero_grad()
        torch.autograd.backward([torch.stack(list(terms.values())).sum()])
        norm = nn.utils.clip_grad_norm_(
            self.student.parameters(), self.settings.clip or float("inf")
        )
        self._check({"gradient": float(norm)}, labeled, unlabeled)
        for group in self.optimiser.param_groups:
            group["lr"] = self.settings.rate(self.iteration)
        self.optimiser.step()
        self.teacher.update(self.student)
        self.iteration += 1
        return values

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "iteration": self.iteration,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "rng": rng_state(self.generators),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        self.optimiser.load_state_dict(state["optimiser"])
        set_rng_state(self.generators, state["rng"])
        self.iteration = int(state["iteration"])

    def _view(self, crops: Crops, generator: Generator, strong: bool) -> View:
        augment, patch = self.settings.augment, self.settings.patch
        x, y, z = crops.image.shape[2:]
        grid = random_grid(len(crops.image), (x, y, z), patch, augment, generator)
        weak = change_intensity(warp(crops.image, grid), augment.weak, generator)
        stronger = change_intensity(weak, augment.strong, generator) if strong else None
        return View(
            cases=crops.cases,
            weak=weak.to(self.device),
            strong=None if stronger is None else stronger.to(self.device),
            mask=warp_mask(crops.mask, grid).to(self.device),
            pseudo=None if crops.pseudo is None else warp(crops.pseudo, grid).to(self.device),
            confidence=crops.confidence.to(self.device),
        )

    def _terms(self, labeled: View, unlabeled: View | None) -> dict[str, Tensor]:
        progress = self.iteration / self.settings.iterations
        student = Once(self.student)
        step = Step(
            student=student,
            teacher=self.teacher,
            image=labeled.weak,
            mask=labeled.mask,
            weak=unlabeled.weak if unlabeled and self.task.host.unlabeled else None,
            strong=unlabeled.strong if unlabeled else None,
            progress=progress,
            generator=self.generators["host"],
        )
        terms = self.task.host.terms(step)
        weight = self.task.pseudo.weight_at(progress) if self.task.pseudo else 0.0
        if self.task.pseudo and weight and unlabeled and unlabeled.pseudo is not None:
            inside = (unlabeled.mask != IGNORE).float()
            # Un-mixed and weak: SFR's plug-in rule for every host.
            loss = pseudo_loss(
                student(unlabeled.weak),
                unlabeled.pseudo,
                inside,
                unlabeled.confidence,
                self.task.pseudo,
            )
            terms["pseudo"] = weight * loss
        return terms

    def _check(self, values: dict[str, float], labeled: View, unlabeled: View | None) -> None:
        bad = {name: value for name, value in values.items() if not np.isfinite(value)}
        if bad:
            cases = ", ".join(
                dict.fromkeys([*labeled.cases, *(unlabeled.cases if unlabeled else ())])
            )
            raise TrainingError(
                f"iteration {self.iteration}: not finite: {bad}, on crops of the cases {cases}; "
                "look for NaN or extreme intensities in them, or lower student.learning_rate"
            )
