"""Decoders of masked autoencoders: from tokens of the trunk to pixels of every patch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from salearn.settings import Field, settings


@settings
class DecoderSettings:
    """The decoder of forms B and C; form A has one linear layer.

    Attributes:
        width: None = a quarter of the trunk's (256 for SAM3), at least 32.
        depth: blocks. head: width of an attention head.
    """

    width: int | None = Field(default=None, ge=8, multiple_of=8)
    depth: int = Field(default=4, ge=1)
    head: int = Field(default=32, ge=4, multiple_of=4)


class LinearDecoder(nn.Module):
    """LayerNorm (the trunk ends without one) and one linear layer, token by token.

    Source: SimMIM, whose heavier heads were no better.
    """

    def __init__(self, dim: int, values: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, values)

    def forward(self, tokens: Float[Tensor, "b token dim"]) -> Float[Tensor, "b token values"]:
        """Pixels of every patch."""
        pixels: Tensor = self.head(self.norm(tokens))
        return pixels


class TransformerDecoder(nn.Module):
    """The visible tokens at their places, a learned token at all others, blocks, pixels.

    Source: He et al. 2022 (fixed sine-cosine positions, shared mask token).
    """

    def __init__(self, dim: int, values: int, given: DecoderSettings) -> None:
        super().__init__()
        width = given.width or max(32, dim // 4)
        self.norm = nn.LayerNorm(dim)
        self.embed = nn.Linear(dim, width)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width,
                max(1, width // given.head),
                4 * width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(given.depth)
        )
        self.last_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, values)

    def forward(
        self, tokens: Float[Tensor, "b kept dim"], places: Int[Tensor, "b kept"], rows: int
    ) -> Float[Tensor, "b token values"]:
        """Pixels of every patch of a grid of rows x rows.

        Args:
            places: where on the grid the tokens are from.
        """
        seen = self.embed(self.norm(tokens))
        x = self.mask_token.to(seen.dtype).expand(len(seen), rows * rows, -1)
        x = x.scatter(1, places[..., None].expand_as(seen), seen)
        x = x + sine_positions(rows, x.shape[-1]).to(x)
        for block in self.blocks:
            x = block(x)
        pixels: Tensor = self.head(self.last_norm(x))
        return pixels


def sine_positions(rows: int, width: int) -> Float[Tensor, "token width"]:
    """Fixed positions: sines and cosines of the row in one half, of the column in the other."""
    rate = 10000.0 ** -(torch.arange(width // 4) / (width // 4))
    angle = torch.arange(rows)[:, None] * rate
    wave = torch.cat([angle.sin(), angle.cos()], dim=1)
    along = wave[:, None].expand(-1, rows, -1)
    return torch.cat([along, along.transpose(0, 1)], dim=2).flatten(0, 1)
