"""The literature's V-Net, its loss and its teacher, written plainly: what ours is compared with."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class PlainVNet(nn.Module):
    """3x3x3 convolutions with BatchNorm and ReLU, four levels, additive skips; NCDHW memory.

    Modules are made in the order of ours, so that weights can be taken over one by one.
    """

    def __init__(self, in_channels: int, num_classes: int, width: int) -> None:
        super().__init__()
        w = [width, 2 * width, 4 * width, 8 * width, 16 * width]
        self.block1 = convolutions(1, in_channels, w[0])
        self.block2 = convolutions(2, w[1], w[1])
        self.block3 = convolutions(3, w[2], w[2])
        self.block4 = convolutions(3, w[3], w[3])
        self.down1, self.down2, self.down3, self.down4 = (down(a) for a in w[:4])
        self.block5 = convolutions(3, w[4], w[4])
        self.up1, self.up2, self.up3, self.up4 = (up(a) for a in w[:4])
        self.block9 = convolutions(1, w[0], w[0])
        self.block8 = convolutions(2, w[1], w[1])
        self.block7 = convolutions(3, w[2], w[2])
        self.block6 = convolutions(3, w[3], w[3])
        self.head = nn.Conv3d(w[0], num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x1 = self.block1(image)
        x2 = self.block2(self.down1(x1))
        x3 = self.block3(self.down2(x2))
        x4 = self.block4(self.down3(x3))
        x5 = self.block5(self.down4(x4))
        x = self.block6(self.up4(x5) + x4)
        x = self.block7(self.up3(x) + x3)
        x = self.block8(self.up2(x) + x2)
        logits: Tensor = self.head(self.block9(self.up1(x) + x1))
        return logits

    def take(self, other: nn.Module) -> None:
        """Weights and buffers of a network of the same order."""
        mine, theirs = self.state_dict(), other.state_dict()
        for a, b in zip(mine.values(), theirs.values(), strict=True):
            a.copy_(b)


def convolutions(count: int, channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for index in range(count):
        layers.append(nn.Conv3d(width if index else channels, width, 3, padding=1))
        layers += [nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


def down(width: int) -> nn.Sequential:
    convolution = nn.Conv3d(width, 2 * width, 2, stride=2)
    return nn.Sequential(convolution, nn.BatchNorm3d(2 * width), nn.ReLU(inplace=True))


def up(width: int) -> nn.Sequential:
    convolution = nn.ConvTranspose3d(2 * width, width, 2, stride=2)
    return nn.Sequential(convolution, nn.BatchNorm3d(width), nn.ReLU(inplace=True))


def plain_loss(logits: Tensor, mask: Tensor) -> Tensor:
    """Half cross-entropy, half Dice with squares in the denominator, class by class."""
    probabilities = torch.softmax(logits, dim=1)
    dice = torch.zeros(())
    for index in range(logits.shape[1]):
        p, y = probabilities[:, index], (mask == index).float()
        overlap, size = (p * y).sum(), (p * p).sum() + (y * y).sum()
        dice = dice + 1 - (2 * overlap + 1e-5) / (size + 1e-5)
    return 0.5 * (functional.cross_entropy(logits, mask) + dice / logits.shape[1])


@torch.no_grad()
def plain_ema(teacher: nn.Module, student: nn.Module, decay: float, update: int) -> None:
    """Parameter by parameter, as the references do."""
    alpha = min(1 - 1 / (update + 1), decay)
    for mine, theirs in zip(teacher.parameters(), student.parameters(), strict=True):
        mine.mul_(alpha).add_(theirs, alpha=1 - alpha)
