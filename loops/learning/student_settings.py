"""What may be set about the student and its training."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import nn

from salearn.data.augment import AugmentSettings
from salearn.errors import ConfigError
from salearn.models.infer import InferenceSettings
from salearn.models.vnet import Activation, Norm, VNetSettings
from salearn.settings import Field, settings

Size = tuple[int, int, int]


@settings
class StudentSettings:
    """The student and its training; defaults fit 1 mm hippocampus volumes on one CPU core.

    Attributes:
        width, depth, activation, norm, dropout, channels_last: of the V-Net, see `VNetSettings`.
        patch: crop size, voxels; divisible by 2**depth. With 1 along z, (96, 96, 1), the student
            is a 2-D network for pictures (PNG, JPEG): no kernel and no augmentation leaves the
            plane.
        batch, unlabeled_batch: crops of each kind in a step.
        optimiser: adamw, or sgd with momentum 0.9 as in the references (learning rate 0.01).
        schedule: poly = (1 - progress)**0.9; step = x0.1 at 5/12 and 5/6 (UA-MT); constant.
        warm_up: share of the training over which the learning rate rises.
        clip: greatest norm of the gradient; 0 = no clipping.
        foreground_share: of labeled crops, see `CropSampler`.
        checkpoint_every, log_every: iterations.
        device: where it is trained; "cuda" needs a card that torch sees.
        running_statistics: whose batch statistics the averages follow that prediction uses:
            labeled = those of the first pass of a step, labeled crops (bcp: mixed ones), as if
            there were no others; all = of every pass, unlabeled and disturbed crops too, which
            lowered Dice even where their loss had weight 0.
        batchnorm_batches: batches from which the teacher's running statistics are computed anew
            at the end; 0 = it keeps the averages of the student's.
    """

    width: int = Field(default=8, ge=1)
    depth: int = Field(default=3, ge=1, le=6)
    activation: Activation = "leaky_relu"
    norm: Norm = "batch"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    channels_last: bool = True
    patch: Size = (24, 32, 24)
    batch: int = Field(default=2, ge=1)
    unlabeled_batch: int = Field(default=2, ge=0)
    iterations: int = Field(default=240, ge=1)
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = Field(default=3e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    schedule: Literal["poly", "step", "constant"] = "poly"
    warm_up: float = Field(default=0.05, ge=0, lt=1)
    clip: float = Field(default=5.0, ge=0)
    augment: AugmentSettings = AugmentSettings()
    foreground_share: float = Field(default=0.5, ge=0, le=1)
    checkpoint_every: int = Field(default=60, ge=1)
    log_every: int = Field(default=10, ge=1)
    running_statistics: Literal["labeled", "all"] = "labeled"
    batchnorm_batches: int = Field(default=0, ge=0)
    device: Literal["cpu", "cuda"] = "cpu"
    inference: InferenceSettings = InferenceSettings()

    def __post_init__(self) -> None:
        divisor = 1 << self.depth
        sides = self.patch[:2] if self.flat else self.patch
        if any(side < divisor or side % divisor for side in sides):
            raise ConfigError(
                f"patch {self.patch} must be divisible by {divisor} (2**depth, depth {self.depth})"
            )

    @property
    def flat(self) -> bool:
        """Whether crops have no depth, so the student is 2-D."""
        return self.patch[2] == 1

    def rate(self, iteration: int) -> float:
        """Learning rate of an iteration, 0-based."""
        progress = iteration / self.iterations
        drops = 0
        warm = self.warm_up * self.iterations
        rise = min(1.0, (iteration + 1) / warm) if warm >= 1 else 1.0
        if self.schedule == "poly":
            return self.learning_rate * rise * math.pow(1 - progress, 0.9)
        if self.schedule == "step":
            drops = (progress >= 5 / 12) + (progress >= 5 / 6)
        return self.learning_rate * rise * math.pow(0.1, drops)

    @property
    def place(self) -> torch.device:
        """The device, checked.

        Raises:
            ConfigError: cuda is asked for and torch sees no card.
        """
        if self.device == "cuda" and not torch.cuda.is_available():
            raise ConfigError("student.device: torch sees no CUDA device; use student.device=cpu")
        return torch.device(self.device)

    @property
    def net(self) -> VNetSettings:
        """The network's own settings."""
        return VNetSettings(
            width=self.width,
            depth=self.depth,
            activation=self.activation,
            norm=self.norm,
            dropout=self.dropout,
            channels_last=self.channels_last,
            flat=self.flat,
        )

    def optimiser_of(self, net: nn.Module) -> torch.optim.Optimizer:
        """A fresh optimiser of the weights of a network."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimiser == "sgd":
            return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=decay)
        return torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=decay)
