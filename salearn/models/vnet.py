"""The V-Net of the semi-supervised literature: 3x3x3 convolutions, additive skips."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salearn.settings import Field, settings

Activation = Literal["relu", "leaky_relu", "elu", "prelu"]
Norm = Literal["batch", "instance", "group", "none"]


@settings
class VNetSettings:
    """Shape of the network; the paper's is width 16, depth 4, relu, batch, dropout 0.5.

    Attributes:
        width: channels of the first level; they double with each down-sampling.
        depth: number of down-samplings; sides must be divisible by 2**depth.
        activation: leaky_relu has slope 0.2. With relu and few channels a class can die in the
            last layer and never come back (measured: 1 seed of 3 at width 8).
        norm: instance gave 0.2 less Dice than batch when crops are small and volumes are
            predicted whole.
        dropout: probability of dropping a channel at the bottleneck and before the last layer.
        channels_last: memory format; same numbers up to rounding, faster on CPU.
    """

    width: int = Field(default=16, ge=1)
    depth: int = Field(default=4, ge=1, le=6)
    activation: Activation = "leaky_relu"
    norm: Norm = "batch"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    channels_last: bool = True


class VNet(nn.Module):
    """Logits of `num_classes` classes from images whose sides are divisible by 2**depth.

    Source: the V-Net of UA-MT and SFR (no residuals inside a block, unlike the original V-Net);
    9,448,866 parameters at width 16, depth 4, one channel, two classes.
    """

    def __init__(self, in_channels: int, num_classes: int, settings: VNetSettings) -> None:
        super().__init__()
        self.settings = settings
        s = settings
        widths = [s.width * 2**level for level in range(s.depth + 1)]
        counts = [min(level + 1, 3) for level in range(s.depth + 1)]
        self.encoder = nn.ModuleList(
            _block(w if level else in_channels, w, counts[level], s)
            for level, w in enumerate(widths[:-1])
        )
        self.down = nn.ModuleList(_down(w, 2 * w, s) for w in widths[:-1])
        self.bottleneck = _block(widths[-1], widths[-1], counts[-1], s)
        self.up = nn.ModuleList(_up(2 * w, w, s) for w in widths[:-1])
        self.decoder = nn.ModuleList(
            _block(w, w, counts[level], s) for level, w in enumerate(widths[:-1])
        )
        self.dropout = nn.Dropout3d(s.dropout)
        self.head = nn.Conv3d(s.width, num_classes, 1)
        if s.channels_last:
            # torch types `to` for 4-D tensors only; channels_last_3d is its documented 5-D twin.
            self.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]

    @property
    def divisor(self) -> int:
        """What the sides of an input must be divisible by."""
        return 1 << self.settings.depth

    def forward(self, image: Float[Tensor, "b channel x y z"]) -> Float[Tensor, "b class x y z"]:
        """Logits on the grid of the image.

        Raises:
            ValueError: a side is not divisible by 2**depth.
        """
        if any(side % self.divisor for side in image.shape[2:]):
            raise ValueError(
                f"sides {tuple(image.shape[2:])} must be divisible by {self.divisor} "
                f"(2**depth, depth {self.settings.depth})"
            )
        x = image
        if self.settings.channels_last:
            x = x.contiguous(memory_format=torch.channels_last_3d)
        skips: list[Tensor] = []
        for block, down in zip(self.encoder, self.down, strict=True):
            skips.append(block(x))
            x = down(skips[-1])
        x = self.dropout(self.bottleneck(x))
        for level in reversed(range(len(skips))):
            x = self.decoder[level](self.up[level](x) + skips[level])
        logits: Tensor = self.head(self.dropout(x))
        return logits


def _block(channels: int, width: int, count: int, s: VNetSettings) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        convolution = nn.Conv3d(width if index else channels, width, 3, padding=1)
        layers += [convolution, *_finish(width, s)]
    return nn.Sequential(*layers)


def _down(channels: int, width: int, s: VNetSettings) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(channels, width, 2, stride=2), *_finish(width, s))


def _up(channels: int, width: int, s: VNetSettings) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose3d(channels, width, 2, stride=2), *_finish(width, s))


def _finish(width: int, s: VNetSettings) -> list[nn.Module]:
    norms: dict[Norm, nn.Module | None] = {
        "batch": nn.BatchNorm3d(width),
        "instance": nn.InstanceNorm3d(width, affine=True),
        "group": nn.GroupNorm(max(n for n in (8, 4, 2, 1) if width % n == 0), width),
        "none": None,
    }
    activations: dict[Activation, nn.Module] = {
        "relu": nn.ReLU(inplace=True),
        "leaky_relu": nn.LeakyReLU(0.2, inplace=True),
        "elu": nn.ELU(inplace=True),
        "prelu": nn.PReLU(width),
    }
    norm = norms[s.norm]
    return [*([norm] if norm is not None else []), activations[s.activation]]
