"""The V-Net of the semi-supervised literature: 3x3x3 convolutions, additive skips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from salearn.settings import Field, settings

Activation = Literal["relu", "leaky_relu", "elu", "prelu"]
Norm = Literal["batch", "instance", "group", "none"]
Rise = Literal["transposed", "linear", "nearest"]


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
        flat: for 2-D images (extent 1 along z): kernels and strides are 1 along z, so it is a
            2-D V-Net in the same clothes; z may have any extent.
    """

    width: int = Field(default=16, ge=1)
    depth: int = Field(default=4, ge=1, le=6)
    activation: Activation = "leaky_relu"
    norm: Norm = "batch"
    dropout: float = Field(default=0.0, ge=0, lt=1)
    channels_last: bool = True
    flat: bool = False

    def sized(self, size: int) -> tuple[int, int, int]:
        """A kernel, stride or factor of this size in the plane, and along z if there is depth."""
        return size, size, 1 if self.flat else size

    @property
    def divisors(self) -> tuple[int, int, int]:
        """What the sides of an input must be divisible by."""
        return self.sized(1 << self.depth)


@dataclass(frozen=True)
class Trace:
    """What one pass leaves behind, finest level first.

    Attributes:
        encoded: features of each encoder level, then of the bottleneck.
        decoded: features of each decoder level; `logits` come from the first one.
    """

    encoded: tuple[Tensor, ...]
    decoded: tuple[Tensor, ...]
    logits: Float[Tensor, "b class x y z"]


class Decoder(nn.Module):
    """The way up: from encoder features to logits.

    Args:
        rise: how features grow: by a transposed convolution as in V-Net, or by interpolation
            followed by a 1x1x1 convolution (the other decoders of MC-Net+).
    """

    def __init__(self, num_classes: int, settings: VNetSettings, rise: Rise = "transposed") -> None:
        super().__init__()
        self._build(num_classes, settings, rise)
        _lay_out(self, settings)

    def _build(self, num_classes: int, s: VNetSettings, rise: Rise) -> None:
        widths = [s.width * 2**level for level in range(s.depth)]
        self.up = nn.ModuleList(_up(2 * w, w, s, rise) for w in widths)
        self.decoder = nn.ModuleList(
            _block(w, w, min(level + 1, 3), s) for level, w in enumerate(widths)
        )
        self.dropout = nn.Dropout3d(s.dropout)
        self.head = PointConv(s.width, num_classes, 1)

    def decode(self, encoded: Sequence[Tensor]) -> Trace:
        """The second half of a pass, from the features of `VNet.encode` (or changed ones)."""
        *skips, x = encoded
        levels: list[Tensor] = []
        for level in reversed(range(len(skips))):
            x = self.decoder[level](self.up[level](x) + skips[level])
            levels.append(x)
        finest = self.dropout(x)
        return Trace(tuple(encoded), (finest, *reversed(levels[:-1])), self.head(finest))

    def forward(self, encoded: Sequence[Tensor]) -> Tensor:
        """Logits of `decode`."""
        return self.decode(encoded).logits


class VNet(Decoder):
    """Logits of `num_classes` classes from images whose sides are divisible by 2**depth.

    Source: the V-Net of UA-MT and SFR (no residuals inside a block, unlike the original V-Net);
    9,448,866 parameters at width 16, depth 4, one channel, two classes.
    """

    def __init__(self, in_channels: int, num_classes: int, settings: VNetSettings) -> None:
        nn.Module.__init__(self)
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
        self._build(num_classes, s, "transposed")
        _lay_out(self, s)

    @property
    def divisor(self) -> int:
        """What the sides of an input must be divisible by (of a flat net: in the plane)."""
        return 1 << self.settings.depth

    def encode(self, image: Float[Tensor, "b channel x y z"]) -> list[Tensor]:
        """Features of each encoder level, finest first, then of the bottleneck.

        Raises:
            ValueError: a side is not divisible by 2**depth.
        """
        divisors = self.settings.divisors
        if any(side % by for side, by in zip(image.shape[2:], divisors, strict=True)):
            raise ValueError(
                f"sides {tuple(image.shape[2:])} must be divisible by {self.divisor} "
                f"(2**depth, depth {self.settings.depth})"
            )
        x = image
        if self.settings.channels_last:
            x = x.contiguous(memory_format=torch.channels_last_3d)
        encoded: list[Tensor] = []
        for block, down in zip(self.encoder, self.down, strict=True):
            encoded.append(block(x))
            x = down(encoded[-1])
        return [*encoded, self.dropout(self.bottleneck(x))]

    def trace(self, image: Float[Tensor, "b channel x y z"]) -> Trace:
        """A whole pass with its features; raises as `encode`."""
        return self.decode(self.encode(image))

    def forward(self, image: Float[Tensor, "b channel x y z"]) -> Float[Tensor, "b class x y z"]:  # type: ignore[override]
        """Logits on the grid of the image.

        Raises:
            ValueError: a side is not divisible by 2**depth.
        """
        return self.trace(image).logits


class PointConv(nn.Conv3d):
    """A 1x1x1 convolution; on the CPU a matrix product over the channels, which lie together.

    torch's own falls back to a kernel that answers, and passes the gradient on, channels first:
    the largest feature maps were then converted again and again, a tenth of a training step.
    """

    def forward(self, x: Float[Tensor, "b channel x y z"]) -> Float[Tensor, "b class x y z"]:
        """As `nn.Conv3d`."""
        last = x.is_contiguous(memory_format=torch.channels_last_3d)
        if not last or x.device.type != "cpu":
            return super().forward(x)
        return linear(x.movedim(1, -1), self.weight.flatten(1), self.bias).movedim(-1, 1)


def _lay_out(net: nn.Module, s: VNetSettings) -> None:
    if s.channels_last:
        # torch types `to` for 4-D tensors only; channels_last_3d is its documented 5-D twin.
        net.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def _block(channels: int, width: int, count: int, s: VNetSettings) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        around = (1, 1, 0 if s.flat else 1)
        convolution = nn.Conv3d(width if index else channels, width, s.sized(3), padding=around)
        layers += [convolution, *_finish(width, s)]
    return nn.Sequential(*layers)


def _down(channels: int, width: int, s: VNetSettings) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(channels, width, s.sized(2), s.sized(2)), *_finish(width, s))


def _up(channels: int, width: int, s: VNetSettings, rise: Rise) -> nn.Sequential:
    if rise == "transposed":
        grow: list[nn.Module] = [nn.ConvTranspose3d(channels, width, s.sized(2), s.sized(2))]
    else:
        # Convolved before it grows: the same function as the other order, an eighth of the work.
        larger = nn.Upsample(
            scale_factor=s.sized(2), mode="trilinear" if rise == "linear" else "nearest"
        )
        grow = [nn.Conv3d(channels, width, 1), larger]
    return nn.Sequential(*grow, *_finish(width, s))


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
