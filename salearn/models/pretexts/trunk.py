"""The vision trunk by itself: opened for training, with hidden or dropped tokens, stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from salearn.models.arms.tensors import load_tensors, of_components, open_tensors, save_tensors
from salearn.models.pretexts.patches import kept_places, window_places
from salearn.models.pretexts.registry import TrunkState
from salearn.models.sam3 import Sam

TRUNK_FILE = "trunk.safetensors"
COMPONENT = ("vision_trunk",)


def with_own_trunk(sam: Sam) -> Sam:
    """A twin whose trunk, and nothing else, is its own, in float32, and asks for gradients."""
    twin = sam.twin()
    names = of_components(twin, COMPONENT)
    open_tensors(twin, names)
    for name in names:  # float32 whatever the base is: small steps vanish in bfloat16
        parameter = twin.model.get_parameter(name)
        parameter.data = parameter.data.float()
    return twin


def trunk_parameters(sam: Sam) -> dict[str, nn.Parameter]:
    """Parameters of the trunk by path."""
    return {name: sam.model.get_parameter(name) for name in of_components(sam, COMPONENT)}


def save_trunk(sam: Sam, state: TrunkState, folder: Path) -> None:
    """Write a trunk; `load_trunk` reads it."""
    twin = with_own_trunk(sam)
    with torch.no_grad():
        for name, parameter in trunk_parameters(twin).items():
            parameter.copy_(state[name])
    save_tensors(twin, folder / TRUNK_FILE)


def load_trunk(sam: Sam, folder: Path) -> Sam:
    """A frozen twin with the stored trunk beneath everything else of `sam`.

    Raises:
        WeightsError: the file is missing, damaged or of another SAM3.
    """
    twin = sam.twin()
    open_tensors(twin, of_components(twin, COMPONENT))
    load_tensors(twin, folder / TRUNK_FILE)
    return twin.requires_grad_(False).eval()


def window_tokens(sam: Sam) -> int:
    """Tokens along one side of an attention window."""
    return int(sam.backbone.config.window_size)


def hidden_tokens(
    backbone: Any,
    images: Float[Tensor, "b 3 side side"],
    hidden: Bool[Tensor, "b token"] | None = None,
    stand_in: Float[Tensor, " dim"] | None = None,
) -> Float[Tensor, "b token dim"]:
    """The trunk over the full grid, hidden patch embeddings replaced by `stand_in` (form A).

    Without `hidden` it is the trunk as it is.

    Source: SimMIM, for windows and rotary positions as they are.
    """
    x, rows = _embedded(backbone, images, hidden, stand_in)
    x = backbone.layer_norm(x.view(len(x), rows, rows, -1))
    for layer in backbone.layers:
        x = layer(x)
    return x.flatten(1, 2)  # type: ignore[no-any-return]


def kept_tokens(
    backbone: Any,
    images: Float[Tensor, "b 3 side side"],
    keep: Int[Tensor, "b window keep"],
    checkpointing: bool = False,
) -> Float[Tensor, "b kept dim"]:
    """The trunk over the tokens that stay, window by window (forms B and C).

    Windowed blocks see the tokens that stay in their window, global blocks all that stay; each
    token keeps the rotary position of its place. If all stay this is the trunk as it is.

    Args:
        checkpointing: keep the inputs of the blocks only, and compute the rest twice.

    Source: reconstruction (window-balanced drop of the adaptation notes, section 5).
    """
    x, rows = _embedded(backbone, images)
    places = window_places(rows, int(backbone.config.window_size)).to(keep.device)
    kept = kept_places(keep, places)
    x = x.gather(1, kept[..., None].expand(-1, -1, x.shape[-1]))
    x = backbone.layer_norm(x)
    again = checkpointing and torch.is_grad_enabled()
    for layer in backbone.layers:
        if again:
            x = checkpoint(_block, layer, x, keep, kept, use_reentrant=False)
        else:
            x = _block(layer, x, keep, kept)
    return x


def _embedded(
    backbone: Any, images: Tensor, hidden: Tensor | None = None, stand_in: Tensor | None = None
) -> tuple[Tensor, int]:
    """Patch embeddings with positions, and the tokens along one side."""
    embeddings = backbone.embeddings
    rows = images.shape[-1] // embeddings.patch_size
    x = embeddings.patch_embeddings(images)
    if hidden is not None and stand_in is not None:
        x = torch.where(hidden[..., None], stand_in.to(x.dtype), x)
    table = embeddings.position_embeddings
    return embeddings.dropout(x + embeddings._tile_position_embeddings(table, rows, rows)), rows


def _block(layer: Any, x: Tensor, keep: Tensor, kept: Tensor) -> Tensor:
    """One block over "b kept dim"; a sequence is a window, or in global blocks the picture."""
    b, windows, stay = keep.shape
    where = keep.flatten(0, 1) if layer.window_size else kept
    rows = x.reshape(b * windows, stay, -1) if layer.window_size else x
    cos, sin = (t[0][where][:, None] for t in layer.rotary_emb(rows, layer.position_ids))
    # The attention wants a grid; with rows of one token a sequence of any length is one.
    answer, _ = layer.attention(layer.layer_norm1(rows)[:, :, None], (cos, sin))
    rows = rows + answer[:, :, 0]
    rows = rows + layer.dropout(layer.mlp(layer.layer_norm2(rows)))
    whole: Tensor = rows.reshape(b, windows * stay, -1)
    return whole
