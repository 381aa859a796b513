"""The frozen prefix of an adapted SAM3: the blocks of its vision trunk that nothing trains."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from salearn.models.sam3 import Sam
from salearn.models.sam3_generic import Further


def frozen_blocks(sam: Sam) -> int:
    """Leading blocks of the trunk that give the same answer through a whole training.

    0 where the embeddings before them are trained. Nothing in them may be random either: SAM3's
    vision trunk has no dropout.
    """
    backbone = sam.backbone
    before = (*backbone.embeddings.parameters(), *backbone.layer_norm.parameters())
    if any(parameter.requires_grad for parameter in before):
        return 0
    for number, block in enumerate(backbone.layers):
        if any(parameter.requires_grad for parameter in block.parameters()):
            return number
    return len(backbone.layers)


@torch.no_grad()
def prefix(
    sam: Sam, images: Float[Tensor, "b 3 side side"], blocks: int
) -> Float[Tensor, "b row column dim"]:
    """The grid of tokens behind the first `blocks` blocks."""
    return sam.hidden(images, blocks)


def answer_behind(
    sam: Sam,
    hidden: Float[Tensor, "b row column dim"],
    blocks: int,
    presence: bool,
    further: Further | None = None,
) -> tuple[Float[Tensor, "b text side side"], Float[Tensor, "b text"] | None]:
    """`Sam.answer` for images whose `prefix` is known; bit-identical in float32 (tested).

    Source: the frozen part of transformers' vision encoder is a function of the image alone.
    """
    hidden = hidden.to(sam.prompt_embeddings.dtype)
    for layer in sam.backbone.layers[blocks:]:
        hidden = layer(hidden)
    levels, positions = sam.model.vision_encoder.neck(hidden.permute(0, 3, 1, 2))
    rows, columns = hidden.shape[1:3]
    size = rows * sam.patch, columns * sam.patch
    return sam.decode(levels, positions, size, presence, further)
