"""One step of the student's training, and the state that survives a kill."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn

from loops.learning.batch_norm import FirstPass
from loops.learning.go_on import go_on
from loops.learning.oom import Portions
from loops.learning.student_settings import StudentSettings
from loops.learning.task import Task, host_name
from loops.ssl.pseudo_label import PseudoLossSettings, pseudo_loss
from loops.ssl.step import Once, Part, Plan, Step
from salearn.cases import IGNORE
from salearn.data.augment import change_intensity, random_grid, warp, warp_mask
from salearn.data.patches import Crops, CropSampler, Example
from salearn.errors import TrainingError
from salearn.models.checkpoint import rng_state, set_rng_state
from salearn.models.ema import Ema
from salearn.models.vnet import VNet


@dataclass(frozen=True, kw_only=True)
class View:
    """Crops after augmentation; `strong` has other intensities on the same voxels."""

    cases: tuple[str, ...]
    weak: Float[Tensor, "b channel x y z"]
    strong: Float[Tensor, "b channel x y z"] | None
    mask: Int[Tensor, "b x y z"]
    pseudo: Float[Tensor, "b class x y z"] | None
    confidence: Float[Tensor, " b"]


class Trainer:
    """Student, teacher, optimiser and generators of one training; `step` moves them on.

    Labeled crops, unlabeled crops and the host have generators of their own: with one seed all
    hosts start from the same weights and see the same labeled crops.
    """

    def __init__(self, task: Task, settings: StudentSettings) -> None:
        self.task = task
        self.settings = settings
        self.iteration = 0
        seeds = np.random.SeedSequence(task.seed).generate_state(6).tolist()
        names = ("labeled", "unlabeled", "host", "end")
        self.generators = {
            name: Generator().manual_seed(seed) for name, seed in zip(names, seeds, strict=False)
        }
        torch.manual_seed(seeds[4])
        self.device = settings.place
        # Weights are drawn on the CPU: the same start on every device.
        self.student = VNet(task.channels, task.num_classes, settings.net).to(self.device)
        self.teacher = Ema(self.student, task.host.ema_decay)
        self.parts = self._build_parts(seeds[5])
        nets = {name: part.net for name, part in self.parts.items()}
        self.nets: dict[str, nn.Module] = {"student": self.student, **nets}
        watched = self.nets.values() if settings.running_statistics == "labeled" else ()
        self.statistics = FirstPass(watched)
        self.portions = self._portions()
        self.optimisers = {name: settings.optimiser_of(net) for name, net in self.nets.items()}
        self._labeled = self.sampler(task.labeled, settings.foreground_share)
        self._labeled.distinct = task.host.distinct_cases
        drawn = task.drawn() if settings.unlabeled_batch else []
        self._unlabeled = self.sampler(drawn) if drawn else None
        if task.start is not None:
            go_on(self, task.start, task.carry)

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
        label = self.task.label if self.task.pseudo else None
        return self._view(crops, generator, strong=self.task.host.unlabeled, label=label)

    def step(self) -> dict[str, float]:
        """One iteration; the weighted loss terms and what the host logs.

        Raises:
            TrainingError: a term or the gradient is not finite (it names the cases), or the card
                cannot hold one crop.
        """
        labeled, unlabeled = self.labeled_view(), self.unlabeled_view()
        for net in self.nets.values():
            net.train()
        values, log = self.portions.step(self.iteration, lambda: self._descend(labeled, unlabeled))
        norms = {f"gradient of {name}": self._clipped(net) for name, net in self.nets.items()}
        self._check(norms, labeled, unlabeled)
        for name, optimiser in self.optimisers.items():
            factor = self.parts[name].rate if name in self.parts else 1.0
            for group in optimiser.param_groups:
                group["lr"] = factor * self.settings.rate(self.iteration)
            optimiser.step()
        self.teacher.update(self.student)
        self.iteration += 1
        return values | log

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "iteration": self.iteration,
            "student": self.student.state_dict(),
            "teacher": self.teacher.state_dict(),
            "parts": {name: part.net.state_dict() for name, part in self.parts.items()},
            "optimisers": {name: o.state_dict() for name, o in self.optimisers.items()},
            "rng": rng_state(self.generators),
            "portions": self.portions.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state()`."""
        self.student.load_state_dict(state["student"])
        self.teacher.load_state_dict(state["teacher"])
        for name, part in self.parts.items():
            part.net.load_state_dict(state["parts"][name])
        for name, optimiser in self.optimisers.items():
            optimiser.load_state_dict(state["optimisers"][name])
        set_rng_state(self.generators, state["rng"])
        self.iteration = int(state["iteration"])
        self.portions.take(state.get("portions", {}))

    def _view(
        self,
        crops: Crops,
        generator: Generator,
        strong: bool,
        label: Callable[[Tensor], Tensor] | None = None,
    ) -> View:
        augment, patch = self.settings.augment, self.settings.patch
        x, y, z = crops.image.shape[2:]
        grid = random_grid(len(crops.image), (x, y, z), patch, augment, generator)
        clean = warp(crops.image, grid)
        weak = change_intensity(clean, augment.weak, generator)
        stronger = change_intensity(weak, augment.strong, generator) if strong else None
        pseudo, confidence = crops.pseudo, crops.confidence
        if label is not None:  # before intensities change, as in SFR's code
            pseudo, confidence = label(clean), torch.ones_like(confidence)
        elif pseudo is not None:
            pseudo = warp(pseudo, grid)
        return View(
            cases=crops.cases,
            weak=weak.to(self.device),
            strong=None if stronger is None else stronger.to(self.device),
            mask=warp_mask(crops.mask, grid).to(self.device),
            pseudo=None if pseudo is None else pseudo.to(self.device),
            confidence=confidence.to(self.device),
        )

    def _build_parts(self, seed: int) -> dict[str, Part]:
        """The host's own networks; the student's random stream is as if there were none."""
        task, settings = self.task, self.settings
        plan = Plan(
            channels=task.channels,
            num_classes=task.num_classes,
            net=settings.net,
            patch=settings.patch,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            parts = dict(task.host.parts(plan))
        for part in parts.values():
            part.net.to(self.device)
        return parts

    def _clipped(self, net: nn.Module) -> float:
        """Clip the gradient of one network; its norm before."""
        return float(nn.utils.clip_grad_norm_(net.parameters(), self.settings.clip or float("inf")))

    def _portions(self) -> Portions:
        """What is done when the card is full."""
        name, host = host_name(self.task.host), self.task.host
        why = f"host {name} needs its batch whole (splittable=False)"
        return Portions(
            nets=[*self.nets.values(), self.teacher.module],
            generators=self.generators,
            remedy="set student.batch=1 student.unlabeled_batch=1, or a smaller student.patch or "
            "student.width",
            whole="" if host.splittable else why,
            one_pass=self.statistics.whole,
        )

    def _descend(
        self, labeled: View, unlabeled: View | None
    ) -> tuple[dict[str, float], dict[str, float]]:
        """The gradient of one step; the weighted terms and the host's log."""
        self.statistics.begin()
        for optimiser in self.optimisers.values():
            optimiser.zero_grad()
        terms, log = self._terms(labeled, unlabeled)
        values = {name: float(term.detach()) for name, term in terms.items()}
        self._check(values, labeled, unlabeled)
        torch.autograd.backward([torch.stack(list(terms.values())).sum()])
        return values, log

    def _terms(
        self, labeled: View, unlabeled: View | None
    ) -> tuple[dict[str, Tensor], dict[str, float]]:
        step = self._step(labeled, unlabeled)
        terms = self.task.host.terms(step)
        chosen = self.task.pseudo
        weight = chosen.weight_at(step.progress) if chosen else 0.0
        if chosen and weight and unlabeled and unlabeled.pseudo is not None:
            terms["pseudo"] = weight * self._pseudo(step, unlabeled, unlabeled.pseudo, chosen)
        return terms, step.log

    def _step(self, labeled: View, unlabeled: View | None) -> Step:
        generator, strong = self.generators["host"], self.settings.augment.strong
        return Step(
            student=Once(self.student, self.portions.call),
            teacher=lambda image: self.portions.call(self.teacher, image),
            parts={name: part.net for name, part in self.parts.items()},
            image=labeled.weak,
            mask=labeled.mask,
            weak=unlabeled.weak if unlabeled and self.task.host.unlabeled else None,
            strong=unlabeled.strong if unlabeled else None,
            restyle=lambda image: change_intensity(image.cpu(), strong, generator).to(image.device),
            progress=self.iteration / self.settings.iterations,
            generator=generator,
            call=self.portions.call,
        )

    def _pseudo(
        self, step: Step, unlabeled: View, target: Tensor, chosen: PseudoLossSettings
    ) -> Tensor:
        """L_pl against whatever the host says it applies to."""
        teacher = step.teacher(unlabeled.weak) if chosen.agreement == "teacher" else None
        inside = (unlabeled.mask != IGNORE).float()
        total = torch.zeros((), device=self.device)
        for logits, weight in self.task.host.plugged(step, unlabeled.weak):
            seen = inside if weight is None else inside * weight
            total = total + pseudo_loss(logits, target, seen, unlabeled.confidence, chosen, teacher)
        return total

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
