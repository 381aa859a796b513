"""The recipe of a pretraining: what decides the weights that come out."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import numpy as np

from loops.pretraining.data import Phase, View
from salearn.data.procedural import CODE_VERSION, SceneSettings
from salearn.errors import ConfigError
from salearn.models.pretexts.mae import Mae
from salearn.models.sam3_tiny import SamSize
from salearn.settings import Field, keyed, settings
from salearn.store import content_key

OF_A_POOL = ("pool", "transductive", "hold_out", "crop", "flips", "epochs")


@settings
class PretrainSettings:
    """The recipe: with the code version it decides every weight that comes out.

    Attributes:
        curriculum: phases one after the other; their shares sum to 1.
        warmup: share of the steps in which the rate rises linearly; then a cosine to 0.
        ema: decay of the averaged weights, which are the ones exported.
        positive_weight: of pixels that the prompt means, in the cross-entropy.
        mae: the vision trunk first learns to complete pictures of generated scenes; None = it
            begins at random. What says which images of a pool are shown is refused: there is none.
        checkpoint_every, log_every: steps.
    """

    NEWER: ClassVar[tuple[str, ...]] = ("mae",)
    seed: int = Field(default=0, ge=0)
    steps: int = Field(default=9000, ge=1)
    size: SamSize = SamSize(
        resolution=256, width=128, layers=6, global_layers=(2, 5), vocabulary=128
    )
    scenes: SceneSettings = SceneSettings()
    curriculum: tuple[Phase, ...] = (Phase(share=1.0, views=(View(),)),)
    learning_rate: float = Field(default=1e-3, gt=0)
    warmup: float = Field(default=0.02, ge=0, lt=1)
    weight_decay: float = Field(default=0.02, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = Field(default=1.0, gt=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    positive_weight: float = Field(default=3.0, gt=0)
    bce_weight: float = Field(default=2.0, ge=0)
    dice_weight: float = Field(default=1.0, ge=0)
    mae: Mae | None = None
    checkpoint_every: int = Field(default=500, ge=1)
    log_every: int = Field(default=50, ge=1)
    device: Literal["cpu", "cuda"] = "cpu"

    def __post_init__(self) -> None:
        total = sum(phase.share for phase in self.curriculum)
        if abs(total - 1) > 1e-6:
            raise ConfigError(f"curriculum: the shares sum to {total:g}, they must sum to 1")
        for name in OF_A_POOL if self.mae is not None else ():
            if getattr(self.mae, name) != getattr(Mae(), name):
                raise ConfigError(f"mae.{name}: generated scenes have no pool; leave it out")


def recipe_hash(given: PretrainSettings) -> str:
    """Names the weights that this recipe makes."""
    values = keyed(given)
    for name in ("checkpoint_every", "log_every", "device"):
        values.pop(name)
    return content_key("pretrain", CODE_VERSION, values)


def phase_of(given: PretrainSettings, step: int) -> Phase:
    """The phase that a step belongs to."""
    ends = np.cumsum([phase.share for phase in given.curriculum]) * given.steps
    index = int(np.searchsorted(np.round(ends), step, side="right"))
    return given.curriculum[min(index, len(given.curriculum) - 1)]


def learning_rate(given: PretrainSettings, step: int) -> float:
    """Linear warm-up, then a cosine to 0."""
    warm = round(given.warmup * given.steps)
    if step < warm:
        return given.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, given.steps - warm)
    return given.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
