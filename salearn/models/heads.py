"""Small networks that hosts put beside the V-Net."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate


def distance_head(width: int, num_classes: int) -> nn.Sequential:
    """Signed distances -1..1, one map for each foreground class, from the finest features.

    Source: DTC, SASSNet (1x1x1 convolution and tanh beside the segmentation head).
    """
    return nn.Sequential(nn.Conv3d(width, num_classes - 1, 1), nn.Tanh())


class SideHead(nn.Module):
    """Logits on the full grid from the features of a coarser decoder level.

    Source: URPC (dropout, convolution, interpolation).
    """

    def __init__(self, width: int, num_classes: int, factor: int, dropout: float) -> None:
        super().__init__()
        self.factor = factor
        self.dropout = nn.Dropout3d(dropout)
        self.head = nn.Conv3d(width, num_classes, 1)

    def forward(self, features: Float[Tensor, "b width x y z"]) -> Tensor:
        """Logits, `factor` times finer."""
        logits: Tensor = self.head(self.dropout(features))
        return interpolate(logits, scale_factor=self.factor, mode="trilinear", align_corners=False)


class Critic(nn.Module):
    """Two logits: are these distance maps those of an unlabeled (0) or a labeled (1) crop?

    Source: SASSNet's discriminator; the last pooling is global, so that any patch fits.
    """

    def __init__(self, channels: int, maps: int, width: int, levels: int) -> None:
        super().__init__()
        self.map = nn.Conv3d(maps, width, 4, stride=2, padding=1)
        self.image = nn.Conv3d(channels, width, 4, stride=2, padding=1)
        layers: list[nn.Module] = [nn.LeakyReLU(0.2), nn.Dropout3d(0.5)]
        for level in range(levels - 1):
            wide = width << level
            layers += [nn.Conv3d(wide, 2 * wide, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
            layers += [nn.Dropout3d(0.5)] if level < levels - 2 else []
        layers += [nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(width << (levels - 1), 2)]
        self.rest = nn.Sequential(*layers)

    def forward(self, maps: Tensor, image: Tensor) -> Float[Tensor, "b 2"]:
        """Logits of unlabeled and labeled."""
        logits: Tensor = self.rest(self.map(maps) + self.image(image))
        return logits


class Locator(nn.Module):
    """Logits of the place that a cube had in its crop, from its bottleneck features.

    Source: MagicNet's location reasoning; this head (mean and maximum, one hidden layer) is ours.
    """

    def __init__(self, width: int, places: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2 * width, width), nn.LeakyReLU(0.2), nn.Linear(width, places)
        )

    def forward(self, features: Float[Tensor, "b width x y z"]) -> Float[Tensor, "b places"]:
        """Logits of the places."""
        flat = features.flatten(2)
        logits: Tensor = self.layers(torch.cat([flat.mean(2), flat.amax(2)], dim=1))
        return logits
