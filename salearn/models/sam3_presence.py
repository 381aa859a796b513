"""SAM3's presence token: is what a prompt names in the image at all?"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

# The presence component: what every arm trains beside its heads, where presence is asked for.
PRESENCE_HEADS = tuple(f"detr_decoder.presence_{part}" for part in ("token", "head", "layer_norm"))
# What else of the DETR decoder reaches the presence logit in every SAM3, however few its layers.
PRESENCE_LAYERS = ("detr_decoder.layers",)


def presence_logits(model: Any, encoded: Any, text_mask: Tensor | None) -> Float[Tensor, " pair"]:
    """The presence logit of each image with its prompt, within +-10.

    A learnt token goes through the DETR decoder together with the object queries: it attends to
    them, to the text and, without position bias, to all image tokens; a three-layer network reads
    its logit. Boxes, masks and scores of the queries are not computed here.

    Args:
        model: `transformers.Sam3Model`.
        encoded: output of its `detr_encoder`.
    """
    decoded = model.detr_decoder(
        vision_features=encoded.last_hidden_state,
        text_features=encoded.text_features,
        vision_pos_encoding=encoded.pos_embeds_flattened,
        text_mask=text_mask,
        spatial_shapes=encoded.spatial_shapes,
    )
    last: Tensor = decoded.presence_logits[-1]
    return last.float().squeeze(-1)


def gated(
    logits: Float[Tensor, "b class *space"], presence: Float[Tensor, "b class"]
) -> Float[Tensor, "b class *space"]:
    """The logit of g = sigmoid(logits) * sigmoid(presence).

    Source: adaptation notes, section 4 (the semantic form of g). 1 / g - 1 is
    e^-s + e^-p + e^-(s+p), so that nothing underflows.
    """
    p = presence.view(*presence.shape, *[1] * (logits.ndim - 2)).expand_as(logits)
    return -torch.logsumexp(torch.stack([-logits, -p, -logits - p]), dim=0)
