"""A SAM3 of 0.7 M parameters with random weights: tests and demonstrations without a GPU."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Generator, nn

RESOLUTION = 224  # 7 x 7 tiles of 32 pixels: 49 slices
PATCH = 8
WINDOW = 4  # tokens: a 32 x 32 slice is exactly one attention window
VOCABULARY = 64
PROMPT_LENGTH = 8
POSITION_SPREAD = 0.3  # 0.02 drowns beside the patches; 0.3 was better in both pairs measured
SEMANTIC_BIAS = -2.0  # most pixels are background: start from a small foreground probability


def tiny_config() -> Any:
    """The `Sam3Config` of the tiny model: ViT of width 96 and 4 layers, heads of width 32.

    Source: the measured prototype of the reference notes (section 4 of the SAM3 note).
    """
    from transformers import Sam3Config

    head = {"hidden_size": 32, "num_attention_heads": 4}
    layer = head | {"num_layers": 1, "intermediate_size": 64, "dropout": 0.0}
    sides = [RESOLUTION // PATCH * factor for factor in (4, 2, 1)]
    return Sam3Config(
        vision_config={
            "backbone_config": _backbone(),
            "fpn_hidden_size": 32,
            "backbone_feature_sizes": [[side, side] for side in sides],
        },
        text_config=_text(),
        geometry_encoder_config=layer,
        detr_encoder_config=layer,
        detr_decoder_config=layer | {"num_queries": 4},
        mask_decoder_config=head,
    )


def _backbone() -> dict[str, Any]:
    return {
        "model_type": "sam3_vit_model",
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "image_size": RESOLUTION,
        "patch_size": PATCH,
        "window_size": WINDOW,
        "global_attn_indexes": [1, 3],
        # The position table is tiled, so every tile of a mosaic gets the same positions.
        "pretrain_image_size": PATCH * WINDOW,
    }


def _text() -> dict[str, Any]:
    return {
        "model_type": "clip_text_model",
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": PROMPT_LENGTH,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "hidden_act": "gelu",
    }


def initialise(model: nn.Module, seed: int) -> None:
    """Xavier (linear) and fan-in (convolution) weights, the same for the same seed.

    The standard deviation 0.02 of transformers is far too small at widths of 32 and 96: nothing is
    learnt from it in hundreds of steps (measured, see the reference notes).
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            _initialise_module(module, generator)
        for name, parameter in model.named_parameters():
            if name.endswith("embeddings.position_embeddings"):
                parameter.normal_(0, POSITION_SPREAD, generator=generator)
        model.get_parameter("mask_decoder.semantic_projection.bias").fill_(SEMANTIC_BIAS)


def _initialise_module(module: nn.Module, generator: Generator) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight, generator=generator)
    elif isinstance(module, nn.Conv2d):
        fan_in = module.weight[0].numel()
        module.weight.normal_(0, 1 / math.sqrt(fan_in), generator=generator)
    elif isinstance(module, nn.ConvTranspose2d):
        # Kernel = stride here: each output pixel sees every input channel once.
        module.weight.normal_(0, 1 / math.sqrt(module.in_channels), generator=generator)
    elif isinstance(module, nn.Embedding):
        module.weight.normal_(0, 0.5, generator=generator)
    if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
        module.bias.zero_()
