"""The training of a masked autoencoder: steps, looks at held-out pictures, state."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn

from salearn.errors import ConfigError, DataError, TrainingError
from salearn.models.checkpoint import load_state, save_state
from salearn.models.pretexts.autoencoder import Autoencoder
from salearn.models.pretexts.mae import Mae
from salearn.models.pretexts.rates import groups_of, rate_share
from salearn.models.pretexts.registry import Pictures, Report, TrunkState
from salearn.models.pretexts.trunk import hidden_tokens, trunk_parameters, with_own_trunk
from salearn.models.sam3 import Sam
from salearn.settings import dump
from salearn.store import append_line, canonical, content_key, read_lines, write_json, write_text

CHECKPOINT, LOG, RECORD = "_checkpoint.pt", "train.jsonl", "fit.json"
HELD_OUT_STREAM = 2**31  # far from the number of any iteration


def fit(
    given: Mae,
    sam: Sam,
    pool: Pictures,
    held_out: Pictures,
    work: Path,
    report: Report | None = None,
) -> TrunkState:
    """The trunk after training; `sam` is left as it is. See `Pretext.fit`.

    Raises:
        ConfigError: the trunk cannot take such pictures, or `amp` on a CPU.
        DataError: there are no pictures, or none of the held-out ones shows anything.
        TrainingError: the loss is not finite.
    """
    if given.amp and sam.device.type != "cuda":
        raise ConfigError("pretext.amp: bfloat16 autocast is for CUDA (it is slower on a CPU)")
    if not len(pool):
        raise DataError("pretext: no picture to learn from; is the pool empty, or all held out?")
    training = _Training(given, sam, pool, held_out)
    training.resume(work)
    with torch.random.fork_rng(devices=[]):
        while not training.ended:
            loss = training.step()
            if training.looks_now:
                training.look()
            _log(work, training, loss, report)
            if training.done % given.checkpoint_every == 0:
                save_state(work / CHECKPOINT, training.state())
    write_json(work / RECORD, training.told())
    return training.result()


class _Training:
    """Trunk, decoder, optimiser, and what was seen on held-out pictures."""

    def __init__(self, given: Mae, sam: Sam, pool: Pictures, held_out: Pictures) -> None:
        self.given, self.pool, self.old = given, pool, sam
        self.sam = with_own_trunk(sam).train()
        self.sam._set_resolution(given.shown(sam).side)
        self.model = Autoencoder(self.sam, given).train()
        self.steps = given.steps(len(pool))
        trunk, fresh = trunk_parameters(self.sam), dict(self.model.named_parameters())
        self.trunk = list(trunk)
        self.parameters: dict[str, Tensor] = {
            **trunk,
            **{f"fresh.{n}": p for n, p in fresh.items()},
        }
        blocks = len(sam.backbone.layers)
        groups = groups_of(given, trunk, fresh, blocks)
        self.optimizer = torch.optim.AdamW(groups, lr=0.0, betas=given.betas)
        self.average = {n: p.detach().clone() for n, p in self.parameters.items() if given.ema}
        self.seen = held_out.plain(given.held_out_pictures) if len(held_out) else None
        self.done, self.looks_in_vain = 0, 0
        self.looked: list[list[float]] = []  # iterations, held-out loss
        self.best: TrunkState = {}

    # --- the course of the training -------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether all iterations are done, or patience is."""
        return self.done >= self.steps or self.stopped

    @property
    def stopped(self) -> bool:
        """Whether it ended before its time."""
        return 0 < self.given.patience <= self.looks_in_vain

    @property
    def looks_now(self) -> bool:
        """Whether held-out pictures are looked at after this iteration."""
        return self.done % self.given.check_every == 0 or self.done == self.steps

    def step(self) -> float:
        """One update; the reconstruction loss before it."""
        given = self.given
        rng = np.random.default_rng([given.seed, self.done])
        generator = Generator().manual_seed(int(rng.integers(2**63)))
        torch.manual_seed(int(rng.integers(2**63)))  # dropout, where a backbone has any
        images = self.pool.draw(given.batch, rng)
        masking = self.model.hide(len(images), generator)
        self.optimizer.zero_grad(set_to_none=True)
        loss = self._backward(images, masking)
        if not math.isfinite(loss):
            raise TrainingError(
                f"pretext mae: the loss is {loss} at iteration {self.done + 1}; lower "
                "pretext.learning_rate, or look for NaN in the images with `salearn data check`"
            )
        self._update()
        self.done += 1
        return loss

    def _backward(self, images: Tensor, masking: Tensor) -> float:
        """Gradients of the whole batch, a few pictures at a time; its loss.

        Every part weighs by the patches that count in it, so the result is that of one pass.
        """
        total = 0.0
        all_patches = max(1, int(self.model.counted(images, masking).sum()))
        for shown, hidden in self._parts(images, masking):
            with self._autocast():
                loss, patches = self.model.loss(shown, hidden)
                whole = loss * (patches / all_patches)
                if self.given.anchor:
                    whole = whole + self._anchor(shown) * (len(shown) / len(images))
            torch.autograd.backward([whole])
            total += loss.item() * patches / all_patches
        return total

    def _parts(self, images: Tensor, masking: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """As many pictures as fit into memory, and what of them is hidden, where the model is."""
        both = (torch.split(whole, self.given.micro) for whole in (images, masking))
        for shown, hidden in zip(*both, strict=True):
            yield shown.to(self.sam.device), hidden.to(self.sam.device)

    def _anchor(self, images: Float[Tensor, "b 3 side side"]) -> Float[Tensor, ""]:
        """anchor * mean |new - old|^2 of the features of the whole picture."""
        with torch.no_grad(), self.old.at_resolution(images.shape[-1]):
            old = hidden_tokens(self.old.backbone, images)
        new = hidden_tokens(self.sam.backbone, images)
        return self.given.anchor * (new.float() - old.float()).square().mean()

    def _autocast(self) -> Any:
        return torch.autocast(self.sam.device.type, torch.bfloat16, enabled=self.given.amp)

    def _update(self) -> None:
        share = rate_share(self.given, self.done, self.steps)
        for group in self.optimizer.param_groups:
            group["lr"] = group["full"] * share
        nn.utils.clip_grad_norm_(self.parameters.values(), self.given.clip)
        self.optimizer.step()
        decay = min(self.given.ema, (1 + self.done) / (10 + self.done))
        with torch.no_grad():
            for name, value in self.average.items():
                value.lerp_(self.parameters[name], 1 - decay)

    # --- held-out pictures ----------------------------------------------------------------

    def look(self) -> None:
        """Held-out loss now; the best trunk is kept."""
        if self.seen is None:
            return
        with self._averaged():
            loss = self.held_out_loss(self.seen)
            least = min((value for _, value in self.looked[1:]), default=math.inf)
            self.looked.append([self.done, loss])
            if loss < least:
                self.best, self.looks_in_vain = self._trunk(), 0
            else:
                self.looks_in_vain += 1

    @torch.no_grad()
    def held_out_loss(self, pictures: Float[Tensor, "b 3 side side"]) -> float:
        """Mean over hidden patches; the same ones are hidden at every look.

        Raises:
            DataError: no picture shows anything.
        """
        generator = Generator().manual_seed(self.given.seed + HELD_OUT_STREAM)
        masking = self.model.hide(len(pictures), generator)
        total, patches = 0.0, 0
        for shown, hidden in self._parts(pictures, masking):
            loss, counted = self.model.loss(shown, hidden)
            total, patches = total + loss.item() * counted, patches + counted
        if not patches:
            raise DataError("pretext: no held-out picture shows anything; are the images empty?")
        return total / patches

    @contextmanager
    def _averaged(self) -> Iterator[None]:
        """Inside, weights are their averages, where there are any."""
        own = {name: self.parameters[name].detach().clone() for name in self.average}
        self._put(self.average)
        yield
        self._put(own)

    @torch.no_grad()
    def _put(self, values: dict[str, Tensor]) -> None:
        for name, value in values.items():
            self.parameters[name].copy_(value)

    def _trunk(self) -> TrunkState:
        return {name: self.parameters[name].detach().cpu().clone() for name in self.trunk}

    # --- state ----------------------------------------------------------------------------

    def result(self) -> TrunkState:
        """The best trunk by held-out loss; the last one if nothing is held out."""
        if self.best:
            return self.best
        with self._averaged():
            return self._trunk()

    def told(self) -> dict[str, Any]:
        """What happened, for the record."""
        best = min(self.looked[1:], key=lambda row: row[1], default=[self.done, math.nan])
        return {
            "iterations": self.done,
            "planned": self.steps,
            "stopped_early": self.stopped,
            "kept_iteration": int(best[0]),
            "loss_before": self.looked[0][1] if self.looked else None,
            "loss_after": best[1] if self.looked else None,
            "looks": self.looked,
            "trained": {
                "trunk": sum(self.parameters[n].numel() for n in self.trunk),
                "thrown_away": sum(p.numel() for p in self.model.parameters()),
            },
        }

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "key": self._key,
            "done": self.done,
            "looked": self.looked,
            "looks_in_vain": self.looks_in_vain,
            "best": self.best,
            "parameters": {name: p.detach() for name, p in self.parameters.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
        }

    def resume(self, work: Path) -> None:
        """Go on from the checkpoint of the same training, if there is one."""
        work.mkdir(parents=True, exist_ok=True)
        state = load_state(work / CHECKPOINT)
        if state is None or state["key"] != self._key:
            if self.seen is not None:
                self.looked = [[0, self.held_out_loss(self.seen)]]
            write_text(work / LOG, "")
            return
        self._put(state["parameters"])
        for name, value in state["average"].items():
            self.average[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.done, self.looks_in_vain = int(state["done"]), int(state["looks_in_vain"])
        self.looked, self.best = state["looked"], state["best"]
        kept = [line for line in read_lines(work / LOG) if line["iteration"] <= self.done]
        write_text(work / LOG, "".join(canonical(line) + "\n" for line in kept))

    @property
    def _key(self) -> str:
        return content_key(dump(self.given), len(self.pool))


def _log(work: Path, training: _Training, loss: float, report: Report | None) -> None:
    done, given = training.done, training.given
    if done % given.log_every and not training.looks_now:
        return
    line: dict[str, Any] = {"iteration": done, "loss": round(loss, 6)}
    if training.looks_now and training.looked:
        line["held_out"] = round(training.looked[-1][1], 6)
    append_line(work / LOG, line)
    if report is not None:
        report(done, training.steps, {k: v for k, v in line.items() if k != "iteration"})
