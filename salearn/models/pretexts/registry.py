"""The contract of a pretext, and how a file becomes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float
from torch import Tensor

from salearn.errors import ConfigError
from salearn.models.sam3 import Sam
from salearn.registry import Registry
from salearn.settings import Field, settings

Report = Callable[[int, int, dict[str, float]], None]
TrunkState = dict[str, Tensor]  # parameter paths of `Sam.model`, as `salearn.models.arms` has them


@dataclass(frozen=True, kw_only=True)
class Shown:
    """How a pretext wants its pictures: side in pixels, and one slice each or mosaics."""

    side: int
    single: bool


@runtime_checkable
class Pictures(Protocol):
    """Unlabeled images as SAM3 takes them: -1..1, three channels, all of one side."""

    def __len__(self) -> int:
        """How many there are without augmentation."""
        ...

    def draw(self, count: int, rng: np.random.Generator) -> Float[Tensor, "b 3 side side"]:
        """Augmented ones, at random."""
        ...

    def plain(self, most: int) -> Float[Tensor, "b 3 side side"]:
        """At most so many as they are, evenly spread over all."""
        ...


@settings
class PretextSettings:
    """What every pretext obeys.

    Attributes:
        pool: "train" = the images of the pool; "all" = those that will be scored as well.
        transductive: says that learning from images that will be scored is meant; "all" needs it.
        hold_out: share of the patients whose images are kept for early stopping and drift.
        crop: area of the part of a slice that is shown, least and greatest, share of the slice.
        flips: axes (0 x, 1 y, 2 z) that may be mirrored; only those that anatomy does not name.
        seed: of everything random here; not the seeds of the run, so all cells share one trunk.
    """

    pool: Literal["train", "all"] = "train"
    transductive: bool = False
    hold_out: float = Field(default=0.1, ge=0, lt=1)
    crop: tuple[Annotated[float, Field(gt=0, le=1)], Annotated[float, Field(gt=0, le=1)]] = (
        0.4,
        1.0,
    )
    flips: tuple[Literal[0, 1, 2], ...] = ()
    seed: int = Field(default=0, ge=0)

    def __post_init__(self) -> None:
        if self.pool == "all" and not self.transductive:
            raise ConfigError(
                "pool: all learns from the images of validation and test cases, which are scored "
                "later (transductive); take pool: train, or declare it with transductive: true - "
                "it is then written into run.json and among the warnings of every report"
            )
        if self.crop[0] > self.crop[1]:
            raise ConfigError(f"crop: {self.crop}: the least share comes first")


@runtime_checkable
class Pretext(Protocol):
    """A frozen settings class (a `PretextSettings`) that trains the vision trunk."""

    @property
    def pool(self) -> Literal["train", "all"]:
        """Which images it learns from."""
        ...

    @property
    def hold_out(self) -> float:
        """Share of the patients that it does not learn from."""
        ...

    @property
    def crop(self) -> tuple[float, float]:
        """Area of the part of a slice that is shown."""
        ...

    @property
    def flips(self) -> tuple[int, ...]:
        """Axes that may be mirrored."""
        ...

    @property
    def seed(self) -> int:
        """Of everything random."""
        ...

    def shown(self, sam: Sam) -> Shown:
        """The pictures that it wants.

        Raises:
            ConfigError: the trunk cannot take such pictures.
        """
        ...

    def fit(
        self,
        sam: Sam,
        pool: Pictures,
        held_out: Pictures,
        work: Path,
        report: Report | None = None,
    ) -> TrunkState:
        """The trunk after training; `sam` is left as it is.

        A training that was cut goes on from its checkpoint in `work` and ends bit for bit where
        an uncut one does. `work` also gets `train.jsonl` and `fit.json`: plain values with at
        least "iterations", "planned", "kept_iteration", "loss_before" and "loss_after".
        """
        ...


PRETEXTS: Registry[Pretext] = Registry("salearn.models.pretexts", "pretext")
register = PRETEXTS.register
available = PRETEXTS.available
build = PRETEXTS.build
