"""Patches of pictures: cut, hidden, compared."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

VARIANCE_FLOOR = 1e-6


def patchify(images: Float[Tensor, "b c h w"], side: int) -> Float[Tensor, "b token values"]:
    """Pixels of each patch (row, column, channel), patches row by row."""
    b, c, h, w = images.shape
    cut = images.view(b, c, h // side, side, w // side, side).permute(0, 2, 4, 3, 5, 1)
    return cut.reshape(b, (h // side) * (w // side), side * side * c)


def flat_patches(patches: Float[Tensor, "b token values"], span: float) -> Bool[Tensor, "b token"]:
    """Patches that show nothing: black border, void of a mosaic, clipped background.

    Args:
        span: a patch whose greatest and least value are not further apart is flat.
    """
    return patches.amax(-1) - patches.amin(-1) <= span


def random_hidden(
    count: int, tokens: int, ratio: float, generator: Generator
) -> Bool[Tensor, "b token"]:
    """Exactly round(ratio * tokens) patches of each picture, uniformly at random."""
    order = torch.rand(count, tokens, generator=generator).argsort(dim=1)
    return order.argsort(dim=1) < round(ratio * tokens)


def balanced_keep(
    count: int, windows: int, tokens: int, ratio: float, generator: Generator
) -> Int[Tensor, "b window keep"]:
    """Places inside its window of the tokens that stay, ascending; as many in every window.

    Args:
        tokens: of one window. ratio: share that is dropped; at least one token stays.
    """
    stay = max(1, round((1 - ratio) * tokens))
    order = torch.rand(count, windows, tokens, generator=generator).argsort(dim=2)
    return order[..., :stay].sort(dim=2).values


def window_places(rows: int, window: int) -> Int[Tensor, "window token"]:
    """Number (row by row over the whole grid) of each token of each window.

    Args:
        rows: tokens along one side of the grid. window: along one side of a window.
    """
    grid = torch.arange(rows * rows).view(rows // window, window, rows // window, window)
    return grid.permute(0, 2, 1, 3).reshape(-1, window * window)


def hidden_of(
    keep: Int[Tensor, "b window keep"], places: Int[Tensor, "window token"]
) -> Bool[Tensor, "b all_tokens"]:
    """The tokens that do not stay."""
    hidden = torch.ones(len(keep), places.numel(), dtype=torch.bool, device=keep.device)
    return hidden.scatter_(1, kept_places(keep, places), False)


def kept_places(
    keep: Int[Tensor, "b window keep"], places: Int[Tensor, "window token"]
) -> Int[Tensor, "b kept"]:
    """Number over the whole grid of the tokens that stay, window by window."""
    spread = places.to(keep.device)[None].expand(len(keep), -1, -1)
    return spread.gather(2, keep).flatten(1)


def reconstruction_loss(
    predicted: Float[Tensor, "b token values"],
    patches: Float[Tensor, "b token values"],
    counted: Bool[Tensor, "b token"],
) -> Float[Tensor, ""]:
    """Mean squared error to the normalised pixels of the counted patches; 0 if there is none.

    1/|M| sum_M 1/D |x^ - (x - mean) / sqrt(var + 1e-6)|^2 with mean and (unbiased) variance of
    each patch: who answers 0 everywhere, the mean of each patch, scores (D - 1) / D.

    Source: He et al. 2022 (norm_pix_loss of the reference code).
    """
    mean, variance = patches.mean(-1, keepdim=True), patches.var(-1, keepdim=True)
    target = (patches - mean) / (variance + VARIANCE_FLOOR).sqrt()
    error = (predicted.float() - target).square().mean(-1)
    return (error * counted).sum() / counted.sum().clamp_min(1)
