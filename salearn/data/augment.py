"""Random views of crops: a 3-D affine map, flips and changes of intensity, a batch at a time."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn.functional import affine_grid, grid_sample

from salearn.cases import IGNORE
from salearn.settings import Field, settings

Size = tuple[int, int, int]


@settings
class IntensitySettings:
    """How far intensities of a normalised image (mean 0, s.d. 1) may be changed.

    Attributes:
        gain: factor drawn from 1 - gain .. 1 + gain.
        offset: addend drawn from -offset .. offset, in standard deviations.
        gamma: exponent drawn from exp(-gamma) .. exp(gamma), on intensities scaled to 0..1.
        noise: s.d. of white noise, drawn from 0 .. noise for each sample.
    """

    gain: float = Field(default=0.15, ge=0, lt=1)
    offset: float = Field(default=0.15, ge=0)
    gamma: float = Field(default=0.2, ge=0)
    noise: float = Field(default=0.1, ge=0)


@settings
class StrongSettings(IntensitySettings):
    """The same with wider ranges, for what is put on top of the weak view."""

    gain: float = Field(default=0.3, ge=0, lt=1)
    offset: float = Field(default=0.3, ge=0)
    gamma: float = Field(default=0.4, ge=0)
    noise: float = Field(default=0.2, ge=0)


@settings
class AugmentSettings:
    """The random views of training; a data set sets what its images allow.

    Attributes:
        rotation: greatest angle about each axis, degrees.
        scale: size factor drawn from 1 - scale .. 1 + scale for each axis.
        shift: greatest shift along each axis, voxels.
        flips: axes (0 x, 1 y, 2 z) that are mirrored with probability 0.5. Empty where left and
            right (or front and back) have names.
        margin: voxels read around each crop, so that a turned crop shows its real surroundings.
        weak: intensity changes of every view.
        strong: those that are put on top of the weak view to give the strong one.
    """

    rotation: tuple[float, float, float] = (15.0, 15.0, 15.0)
    scale: float = Field(default=0.15, ge=0, lt=1)
    shift: float = Field(default=2.0, ge=0)
    flips: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()
    margin: int = Field(default=4, ge=0)
    weak: IntensitySettings = IntensitySettings()
    strong: StrongSettings = StrongSettings()


NO_INTENSITY = IntensitySettings(gain=0, offset=0, gamma=0, noise=0)
NO_STRONG = StrongSettings(gain=0, offset=0, gamma=0, noise=0)
NO_AUGMENT = AugmentSettings(
    rotation=(0, 0, 0), scale=0, shift=0, flips=(), margin=0, weak=NO_INTENSITY, strong=NO_STRONG
)


def augment(
    image: Float[Tensor, "b c x y z"],
    mask: Int[Tensor, "b x y z"],
    settings: AugmentSettings,
    generator: Generator,
) -> tuple[Float[Tensor, "b c x y z"], Int[Tensor, "b x y z"]]:
    """The weak view of a labeled batch: one random map for image and mask, then intensity.

    Voxels that come from outside the crop repeat its border in the image and are `IGNORE` in the
    mask.
    """
    size = (image.shape[2], image.shape[3], image.shape[4])
    grid = random_grid(len(image), size, size, settings, generator)
    return (
        change_intensity(warp(image, grid), settings.weak, generator),
        warp_mask(mask, grid),
    )


def random_grid(
    batch: int, source: Size, size: Size, settings: AugmentSettings, generator: Generator
) -> Float[Tensor, "b x y z 3"] | None:
    """Where each output voxel comes from, a random affine map about the centre for each sample.

    Args:
        source: size of the crops that are read; larger than `size` gives the map a margin.
        size: size of what comes out; with 1 along z the map stays in the plane.

    Returns:
        Coordinates for `torch.nn.functional.grid_sample`, or None if nothing is to be done.
    """
    if source == size and not _moves(settings):
        return None
    matrix, shift = _maps(batch, settings, generator, flat=size[2] == 1)
    half_out, half_in = torch.tensor(size) / 2, torch.tensor(source) / 2
    # Rotation and shift are in voxels; the grid is in units of half the side, so: in = A out + b.
    linear = matrix * half_out / half_in.unsqueeze(1)
    theta = torch.cat([linear, (shift / half_in).unsqueeze(2)], dim=2)
    flipped = torch.cat([theta[:, :, :3].flip(1, 2), theta[:, :, 3:].flip(1)], dim=2)
    return affine_grid(flipped, [batch, 1, *size], align_corners=False)


def warp(
    image: Float[Tensor, "b c x y z"], grid: Tensor | None
) -> Float[Tensor, "b c _x2 _y2 _z2"]:
    """Image or probabilities on the grid, linear; the border is repeated outside."""
    if grid is None:
        return image
    return grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)


def warp_mask(mask: Int[Tensor, "b x y z"], grid: Tensor | None) -> Int[Tensor, "b _x2 _y2 _z2"]:
    """Classes on the grid, nearest neighbour; `IGNORE` outside."""
    if grid is None:
        return mask
    # grid_sample fills with 0, so IGNORE is made 0 for the time being.
    shifted = (mask.float() - IGNORE).unsqueeze(1)
    moved = grid_sample(shifted, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return (moved.squeeze(1) + IGNORE).round().to(mask.dtype)


def change_intensity(
    image: Float[Tensor, "b c x y z"], settings: IntensitySettings, generator: Generator
) -> Float[Tensor, "b c x y z"]:
    """Random gamma, gain, offset and noise; one draw for each sample, shared by its channels."""
    shape = (len(image), 1, 1, 1, 1)
    if settings.gamma:
        image = _gamma(image, torch.exp(settings.gamma * _uniform(shape, generator)))
    if settings.gain or settings.offset:
        gain = 1 + settings.gain * _uniform(shape, generator)
        image = image * gain + settings.offset * _uniform(shape, generator)
    if settings.noise:
        sigma = settings.noise * _uniform(shape, generator).abs()
        image = image + sigma * torch.randn(image.shape, generator=generator)
    return image


def clipped_noise(
    image: Float[Tensor, "b c x y z"], scale: float, clip: float, generator: Generator
) -> Float[Tensor, "b c x y z"]:
    """The image with white noise of s.d. `scale`, held within +- `clip` (the teachers' input)."""
    noise = scale * torch.randn(image.shape, generator=generator).to(image.device)
    return image + noise.clamp(-clip, clip)


def changes(settings: AugmentSettings) -> bool:
    """Whether the weak view differs from the image at all."""
    weak = settings.weak
    return _moves(settings) or bool(weak.gain or weak.offset or weak.gamma or weak.noise)


def _moves(settings: AugmentSettings) -> bool:
    return bool(any(settings.rotation) or settings.scale or settings.shift or settings.flips)


def _maps(
    batch: int, settings: AugmentSettings, generator: Generator, flat: bool = False
) -> tuple[Tensor, Tensor]:
    """Matrices (b 3 3) and shifts (b 3) in voxels, drawn in a fixed order."""
    limits = torch.tensor([math.radians(angle) for angle in settings.rotation])
    angles = limits * _uniform((batch, 3), generator)
    factors = 1 + settings.scale * _uniform((batch, 3), generator)
    shift = settings.shift * _uniform((batch, 3), generator)
    if flat:  # a picture turns about z alone
        angles[:, :2], factors[:, 2], shift[:, 2] = 0, 1, 0
    signs = torch.ones(batch, 3)
    for axis in settings.flips:
        signs[:, axis] = torch.where(torch.rand(batch, generator=generator) < 0.5, -1.0, 1.0)
    return _rotations(angles) * (signs / factors).unsqueeze(1), shift


def _rotations(angles: Tensor) -> Tensor:
    """Rz Ry Rx for angles (b 3) in radians."""
    cos, sin = angles.cos().unbind(1), angles.sin().unbind(1)
    product = torch.eye(3).expand(len(angles), 3, 3)
    for axis in range(3):
        i, j = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3).repeat(len(angles), 1, 1)
        turn[:, i, i] = turn[:, j, j] = cos[axis]
        turn[:, i, j], turn[:, j, i] = -sin[axis], sin[axis]
        product = turn @ product
    return product


def _uniform(shape: tuple[int, ...], generator: Generator) -> Tensor:
    return 2 * torch.rand(shape, generator=generator) - 1


def _gamma(image: Tensor, exponent: Tensor) -> Tensor:
    low = image.amin(dim=(2, 3, 4), keepdim=True)
    span = (image.amax(dim=(2, 3, 4), keepdim=True) - low).clamp_min(1e-6)
    return ((image - low) / span) ** exponent * span + low
