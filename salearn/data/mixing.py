"""Boxes and cubes by which crops are mixed with one another."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

Size = tuple[int, int, int]


def size_of(image: Tensor) -> Size:
    """The last three sides."""
    x, y, z = image.shape[-3:]
    return x, y, z


def box(size: Size, sides: Size, generator: Generator) -> Float[Tensor, "x y z"]:
    """1 inside a box of these sides that lies anywhere within `size`, 0 outside."""
    inside = torch.zeros(size)
    place = torch.rand(3, generator=generator).tolist()
    starts = [int(p * (s - w + 1)) for p, s, w in zip(place, size, sides, strict=True)]
    x, y, z = (slice(a, a + w) for a, w in zip(starts, sides, strict=True))
    inside[x, y, z] = 1.0
    return inside


def share_box(size: Size, share: float, generator: Generator) -> Float[Tensor, "x y z"]:
    """A box with this share of each side (2/3 in BCP); at least one voxel wide."""
    x, y, z = (max(1, int(share * side)) for side in size)
    return box(size, (x, y, z), generator)


def volume_box(
    size: Size, low: float, high: float, stretch: float, generator: Generator
) -> Float[Tensor, "x y z"]:
    """A box with a share of the volume drawn from low..high.

    Args:
        stretch: sides are stretched by factors of 1/stretch..stretch that leave the volume as it
            is, as far as the sides of `size` allow.
    """
    draws = torch.rand(4, generator=generator).tolist()
    side = (low + (high - low) * draws[0]) ** (1 / 3)
    logs = [(2 * d - 1) * math.log(stretch) for d in draws[1:]]
    mean = sum(logs) / 3
    x, y, z = (
        min(s, max(1, round(s * side * math.exp(g - mean))))
        for s, g in zip(size, logs, strict=True)
    )
    return box(size, (x, y, z), generator)


def partner(batch: Tensor) -> Tensor:
    """The crop that each crop is mixed with: its neighbour in the batch (itself, if alone)."""
    return batch.roll(1, 0)


def cycled(batch: Tensor, count: int) -> Tensor:
    """`count` rows, starting anew when the batch ends."""
    return batch[torch.arange(count, device=batch.device) % len(batch)]


def cut(volume: Float[Tensor, "b c x y z"], n: int) -> Float[Tensor, "_cubes c _x _y _z"]:
    """Each crop as n x n x n cubes; the cubes of a crop follow one another, z fastest."""
    b, c, x, y, z = volume.shape
    split = volume.reshape(b, c, n, x // n, n, y // n, n, z // n)
    return split.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(b * n**3, c, x // n, y // n, z // n)


def join(cubes: Float[Tensor, "_cubes c x y z"], n: int) -> Float[Tensor, "b c _x _y _z"]:
    """The inverse of `cut`."""
    count, c, x, y, z = cubes.shape
    split = cubes.reshape(count // n**3, n, n, n, c, x, y, z)
    return split.permute(0, 4, 1, 5, 2, 6, 3, 7).reshape(-1, c, n * x, n * y, n * z)


def half_of_cubes(size: Size, n: int, count: int, generator: Generator) -> Float[Tensor, "b x y z"]:
    """1 in a random half of the n x n x n cubes of each of `count` crops, 0 in the others."""
    order = torch.rand(count, n**3, generator=generator).argsort(1).argsort(1)
    chosen = (order < n**3 // 2).float().reshape(count, n, n, n)
    for axis, side in enumerate(size, start=1):
        chosen = chosen.repeat_interleave(side // n, dim=axis)
    return chosen
