"""roi_align in plain torch, and SAM3's geometry encoder with it in place of torchvision's."""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Sequence
from types import FunctionType, MethodType, SimpleNamespace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from salearn.errors import WeightsError


def roi_align(
    features: Float[Tensor, "b channel h w"],
    boxes: Sequence[Float[Tensor, "_box 4"]],
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Float[Tensor, "all_boxes channel out_h out_w"]:
    """Features inside boxes on a fixed grid of bins, each the mean of bilinear samples.

    Args:
        boxes: one tensor an image, rows (left, top, right, bottom) in units of the input.
        output_size: bins along height and width.
        spatial_scale: pixels of `features` per unit of the boxes.
        sampling_ratio: samples per bin and axis; -1 = as many as the bin has pixels, rounded up.
        aligned: pixel centres at half-integers; otherwise at integers, and sides are at least 1.

    Source: Mask R-CNN (He et al. 2017, section 3), with the conventions of torchvision's operator
    of the same name; written anew with grid_sample.
    """
    bins = (output_size, output_size) if isinstance(output_size, int) else output_size
    found = [
        _one(image, box * spatial_scale, bins, sampling_ratio, aligned)
        for image, rows in zip(features, boxes, strict=True)
        for box in rows
    ]
    if not found:
        return features.new_zeros((0, features.shape[1], *bins))
    return torch.stack(found)


def _one(
    image: Float[Tensor, "channel h w"],
    box: Float[Tensor, " 4"],
    bins: tuple[int, int],
    ratio: int,
    aligned: bool,
) -> Float[Tensor, "channel out_h out_w"]:
    left, top, right, bottom = (box - (0.5 if aligned else 0.0)).unbind()
    height, width = bottom - top, right - left
    if not aligned:
        height, width = height.clamp_min(1.0), width.clamp_min(1.0)
    rows, per_row = _samples(top, height, bins[0], ratio)
    columns, per_column = _samples(left, width, bins[1], ratio)
    values = _bilinear(image, rows, columns)
    shape = (len(image), bins[0], per_row, bins[1], per_column)
    return values.reshape(shape).mean((2, 4))


def _samples(start: Tensor, side: Tensor, bins: int, ratio: int) -> tuple[Tensor, int]:
    """Where a side is sampled: bins in order, and the samples inside each."""
    each = ratio if ratio > 0 else max(1, int(torch.ceil(side / bins)))
    steps = torch.arange(bins * each, dtype=side.dtype, device=side.device)
    return start + (steps + 0.5) * side / (bins * each), each


def _bilinear(
    image: Float[Tensor, "channel h w"], rows: Float[Tensor, " r"], columns: Float[Tensor, " c"]
) -> Float[Tensor, "channel r c"]:
    """Values between pixels; up to one pixel outside the border holds, farther out is 0."""
    height, width = image.shape[1:]
    inside = ((rows >= -1) & (rows <= height))[:, None] & ((columns >= -1) & (columns <= width))
    # Pixel centres at integers, in grid_sample's terms of -1..1 from edge to edge.
    y, x = (2 * rows + 1) / height - 1, (2 * columns + 1) / width - 1
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], dim=-1)
    values = functional.grid_sample(
        image[None], grid[None].to(image), mode="bilinear", padding_mode="border",
        align_corners=False,
    )[0]  # fmt: skip
    return values * inside.to(values)


def without_torchvision(encoder: Any) -> Any:
    """SAM3's geometry encoder, pooling with `roi_align` of this file where torchvision is absent.

    transformers calls `torchvision.ops.roi_align` in one method. What comes back is a second
    handle on the same layers and weights, whose copy of that method finds our function under that
    name; the encoder that was given, its class and its module stay as they are. Where torchvision
    is installed, the encoder itself comes back.

    Raises:
        WeightsError: this transformers has no such method, so boxes need torchvision.
    """
    if importlib.util.find_spec("torchvision") is not None:
        return encoder
    method = getattr(type(encoder), "_encode_boxes", None)
    if not isinstance(method, FunctionType) or method.__closure__ is not None:
        raise WeightsError(
            "box prompts: this version of transformers pools boxes in another way; install "
            "transformers 5.12 to 5.x as tested, or the torchvision that belongs to this torch"
        )
    names = method.__globals__ | {
        "torchvision": SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align))
    }
    ours = FunctionType(method.__code__, names, method.__name__, method.__defaults__)
    handle = copy.copy(encoder)  # shallow: layers and weights are those of the encoder
    handle.__dict__["_encode_boxes"] = MethodType(ours, handle)
    return handle
