"""Small SAM3s made here: random weights for tests, and the one that `salearn pretrain` trains."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Generator, nn

from salearn.errors import ConfigError
from salearn.settings import Field, settings

RESOLUTION = 224  # 7 x 7 tiles of 32 pixels: 49 slices
PATCH = 8
WINDOW = 4  # tokens: a 32 x 32 slice is exactly one attention window
VOCABULARY = 64
PROMPT_LENGTH = 8
POSITION_SPREAD = 0.3  # 0.02 drowns beside the patches; 0.3 was better in both pairs measured
SEMANTIC_BIAS = -2.0  # most pixels are background: start from a small foreground probability


@settings
class SamSize:
    """How large a small SAM3 is. The defaults are those of `sam.weights: tiny`.

    Attributes:
        resolution: side of the input the weights are made for, pixels; no weight depends on it.
        width, layers, heads: of the vision transformer. global_layers: those that see the whole
            image, all others see windows of 4 x 4 tokens of 8 pixels.
        dim: width of everything behind it. vocabulary: token ids of the text tower.
    """

    resolution: int = Field(default=RESOLUTION, ge=32, multiple_of=32)
    width: int = Field(default=96, ge=8)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    global_layers: tuple[int, ...] = (1, 3)
    dim: int = Field(default=32, ge=8, multiple_of=8)
    vocabulary: int = Field(default=VOCABULARY, ge=16)

    def __post_init__(self) -> None:
        if self.width % (4 * self.heads):
            raise ConfigError(f"size.width: {self.width} must be a multiple of 4 x heads")
        if not all(0 <= layer < self.layers for layer in self.global_layers):
            raise ConfigError(f"size.global_layers: {self.global_layers} of {self.layers} layers")


def tiny_config(size: SamSize | None = None) -> Any:
    """The `Sam3Config` of a small model; without a size that of the tiny one.

    Source: the measured prototype of the reference notes (section 4 of the SAM3 note).
    """
    from transformers import Sam3Config

    size = size or SamSize()
    head = {"hidden_size": size.dim, "num_attention_heads": 4}
    layer = head | {"num_layers": 1, "intermediate_size": 2 * size.dim, "dropout": 0.0}
    sides = [size.resolution // PATCH * factor for factor in (4, 2, 1)]
    return Sam3Config(
        vision_config={
            "backbone_config": _backbone(size),
            "fpn_hidden_size": size.dim,
            "backbone_feature_sizes": [[side, side] for side in sides],
        },
        text_config=_text(size),
        geometry_encoder_config=layer,
        detr_encoder_config=layer,
        detr_decoder_config=layer | {"num_queries": 4},
        mask_decoder_config=head,
    )


def _backbone(size: SamSize) -> dict[str, Any]:
    return {
        "model_type": "sam3_vit_model",
        "hidden_size": size.width,
        "intermediate_size": 4 * size.width,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "image_size": size.resolution,
        "patch_size": PATCH,
        "window_size": WINDOW,
        "global_attn_indexes": list(size.global_layers),
        # The position table is tiled, so every tile of a mosaic gets the same positions.
        "pretrain_image_size": PATCH * WINDOW,
    }


def _text(size: SamSize) -> dict[str, Any]:
    return {
        "model_type": "clip_text_model",
        "vocab_size": size.vocabulary,
        "hidden_size": size.dim,
        "intermediate_size": 2 * size.dim,
        "projection_dim": size.dim,
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
    initialise_modules(model, seed)
    with torch.no_grad():
        model.get_parameter("mask_decoder.semantic_projection.bias").fill_(SEMANTIC_BIAS)


def initialise_modules(model: nn.Module, seed: int) -> None:
    """The layers and position embeddings of any model of this family, without what is SAM3's."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            _initialise_module(module, generator)
        for name, parameter in model.named_parameters():
            if name.endswith("embeddings.position_embeddings"):
                parameter.normal_(0, POSITION_SPREAD, generator=generator)


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


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of transformers: output belongs to the caller."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
