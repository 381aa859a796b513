"""A 2-D U-Net that is fed the slices of a volume."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class SliceNet(nn.Module):
    """Logits of a volume, slice by slice; crops and volumes go in and out as with the V-Net.

    Args:
        width: channels of the first level; they double with each down-sampling.
        depth: number of down-samplings; the sides of a slice must be divisible by 2**depth.
        axis: 0, 1, 2 = slices across x, y, z.

    Source: U-Net (Ronneberger 2015) with two 3x3 convolutions a level and BatchNorm.
    """

    def __init__(
        self, channels: int, num_classes: int, width: int, depth: int, axis: int = 2
    ) -> None:
        super().__init__()
        self.axis = axis
        self.divisor = 1 << depth
        widths = [width << level for level in range(depth + 1)]
        self.encoder = nn.ModuleList(
            _block(a, b) for a, b in zip([channels, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * w, w, 2, stride=2) for w in widths[:-1])
        self.decoder = nn.ModuleList(_block(2 * w, w) for w in widths[:-1])
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Float[Tensor, "b channel x y z"]) -> Float[Tensor, "b class x y z"]:
        """Logits on the grid of the image."""
        sliced = image.movedim(2 + self.axis, 1)
        logits = self._slices(sliced.flatten(0, 1))
        rows = logits.reshape(*sliced.shape[:2], *logits.shape[1:])
        return rows.movedim(1, 2 + self.axis).contiguous()

    def _slices(self, x: Tensor) -> Tensor:
        skips: list[Tensor] = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for level in reversed(range(len(self.decoder))):
            x = self.decoder[level](torch.cat([self.up[level](x), skips[level]], dim=1))
        logits: Tensor = self.head(x)
        return logits


def _block(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (channels, width):
        layers += [nn.Conv2d(inputs, width, 3, padding=1), nn.BatchNorm2d(width)]
        layers += [nn.LeakyReLU(0.2, inplace=True)]
    return nn.Sequential(*layers)
