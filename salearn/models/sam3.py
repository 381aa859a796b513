"""SAM3 for slices and mosaics: frozen base, one text prompt per class, semantic path only."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from salearn.errors import ConfigError
from salearn.generic_prompts import Candidates
from salearn.models.sam3_generic import Further, TextPool, embed_pool, with_further
from salearn.models.sam3_key import sam_key as sam_key  # found here by all who load a SAM3
from salearn.models.sam3_presence import gated, presence_logits
from salearn.models.sam3_prompts import embed_prompts
from salearn.models.sam3_weights import DEFAULT, build_model
from salearn.settings import Field, settings

USED_LEVELS = 3  # the neck makes a fourth map that SAM3 itself throws away


@settings
class SamSettings:
    """Which SAM3, and how it runs.

    Attributes:
        weights: "mini" (pretrained on generated scenes, shipped), "tiny" (0.7 M random parameters),
            a folder, or "facebook/sam3" (gated).
        revision: of the hub repository.
        resolution: side of the input, pixels; a multiple of the attention window (336 for SAM3, 32
            for tiny). None = that of the weights (1008; tiny 224).
        seed: of the random weights of tiny.
        dtype: "bfloat16" only on CUDA (slower than float32 on CPUs without it).
        gradient_checkpointing: training keeps 40 times less of the ViT, and computes it twice.
        attn: attention kernel of transformers.
        presence: "off"; "train" = the DETR decoder is run in fine-tuning for its presence logit,
            which finetune.loss=semantic trains; "gate" = also in prediction, where probabilities
            are sigmoid(mask logit) * sigmoid(presence logit).
    """

    NEWER: ClassVar[tuple[str, ...]] = ("presence",)
    weights: str = DEFAULT
    revision: str = "3c879f39826c281e95690f02c7821c4de09afae7"
    resolution: int | None = Field(default=None, ge=1)
    seed: int = 0
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: Literal["cpu", "cuda"] = "cpu"
    gradient_checkpointing: bool = False
    attn: Literal["sdpa", "eager"] = "sdpa"
    presence: Literal["off", "train", "gate"] = "off"

    def __post_init__(self) -> None:
        if self.dtype == "bfloat16" and self.device == "cpu":
            raise ConfigError("sam.dtype: bfloat16 is for sam.device=cuda; use float32 on a CPU")


class Sam(nn.Module):
    """SAM3 without its text tower, DETR decoder unused but for presence; the base is frozen.

    Attributes:
        model: `transformers.Sam3Model`, possibly with an adapter injected.
        adapter: the `PeftModel` around it, or None.
        arm: name and settings of the arm that trains tensors of it, or None (base, or LoRA).
        prompts: one text per class.
        pool: further texts, none of which any image shows; None = none were asked for.
        base_parameters: of the whole SAM3, text tower included.
    """

    prompt_embeddings: Tensor
    prompt_mask: Tensor

    def __init__(
        self,
        model: Any,
        given: SamSettings,
        prompts: Sequence[str],
        text: Any,
        pool: TextPool | None = None,
    ) -> None:
        super().__init__()
        self.settings = given
        self.prompts = tuple(prompts)
        self.pool = pool
        self.base_parameters = sum(p.numel() for p in model.parameters())
        model.text_encoder = model.text_projection = None
        self.model = model.requires_grad_(False)
        self.register_buffer("prompt_embeddings", text[0], persistent=False)
        self.register_buffer("prompt_mask", text[1], persistent=False)
        # In a list, so that its parameters are not registered a second time.
        self._adapter: list[Any] = []
        self.arm: dict[str, Any] | None = None
        self.eval()

    @property
    def adapter(self) -> Any | None:
        """The `PeftModel`, or None for the bare base."""
        return self._adapter[0] if self._adapter else None

    @property
    def backbone(self) -> Any:
        """The vision transformer."""
        return self.model.vision_encoder.backbone

    @property
    def resolution(self) -> int:
        """Side of the input, pixels."""
        return int(self.backbone.config.image_size)

    @property
    def patch(self) -> int:
        """Side of a token, pixels."""
        return int(self.backbone.config.patch_size)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.backbone.embeddings.position_embeddings.device  # type: ignore[no-any-return]

    def twin(self) -> Sam:
        """Another module tree around the same tensors: adapting it leaves this one as it is."""
        shared: dict[int, Any] = {id(t): t for t in (*self.parameters(), *self.buffers())}
        return copy.deepcopy(self, shared)

    def adapting(self, arm: dict[str, Any]) -> Sam:
        """A twin that an arm is going to change.

        Raises:
            ValueError: it is adapted already.
        """
        if self.adapter is not None or self.arm is not None:
            raise ValueError("this SAM3 is adapted already: adapt the bare base")
        twin = self.twin()
        twin.arm = arm
        return twin

    def forward(self, images: Float[Tensor, "b 3 side side"]) -> Float[Tensor, "b class side side"]:
        """Logits of each foreground class, at the resolution of the input, as predicted with.

        They are the semantic logits, gated where `SamSettings.presence` says so.

        Args:
            images: intensities -1..1 (SAM3's mean and standard deviation are both 0.5).
        """
        logits, presence = self.answer(images, self.settings.presence == "gate")
        return logits if presence is None else gated(logits, presence)

    def answer(
        self,
        images: Float[Tensor, "b 3 side side"],
        presence: bool,
        further: Further | None = None,
    ) -> tuple[Float[Tensor, "b text side side"], Float[Tensor, "b text"] | None]:
        """Semantic logits, and the presence logit of each prompt if it is asked for.

        Args:
            further: embedded texts that are asked of each image behind the prompts of the classes.

        Source: the forward of transformers' Sam3Model without box and instance heads, and without
        DETR decoder unless presence is asked for; `semantic_seg` depends on none of them
        (bit-identical, tested).
        """
        vision = self.model.vision_encoder(images.to(self.prompt_embeddings.dtype))
        height, width = images.shape[-2:]
        levels, positions = vision.fpn_hidden_states, vision.fpn_position_encoding
        return self.decode(levels, positions, (height, width), presence, further)

    def decode(
        self,
        levels: Sequence[Tensor],
        positions: Sequence[Tensor],
        size: tuple[int, int],
        presence: bool,
        further: Further | None = None,
    ) -> tuple[Float[Tensor, "b text side side"], Float[Tensor, "b text"] | None]:
        """`answer` from the maps of the neck, finest first, for images of this size."""
        b = len(levels[0])
        if further is None:
            text, mask = self.prompt_embeddings.repeat(b, 1, 1), self.prompt_mask.repeat(b, 1)
        else:
            text, mask = with_further(self.prompt_embeddings, self.prompt_mask, further)
        k = len(text) // b
        # Vision runs once; the heads see every image with every prompt.
        maps = [m.repeat_interleave(k, 0) for m in levels[:USED_LEVELS]]
        position = positions[USED_LEVELS - 1]
        encoded = self.model.detr_encoder(
            vision_features=[maps[-1]],
            text_features=text,
            vision_pos_embeds=[position.repeat_interleave(k, 0)],
            text_mask=mask,
        )
        decoded = self.model.mask_decoder(
            decoder_queries=text[:, :1],  # any: instance masks are not used
            backbone_features=maps,
            encoder_hidden_states=encoded.last_hidden_state,
            prompt_features=text,
            prompt_mask=mask,
        )
        logits = functional.interpolate(
            decoded.semantic_seg.float(), size, mode="bilinear", align_corners=False
        )
        shaped = logits.view(b, k, *size)
        if not presence:
            return shaped, None
        return shaped, presence_logits(self.model, encoded, mask).view(b, k)

    def tokens(
        self, images: Float[Tensor, "b 3 side side"], block: int | None = None
    ) -> Float[Tensor, "b token dim"]:
        """Tokens after block `block` (None = the last), each normalised to mean 0 and variance 1.

        The ViT ends without a norm; a LayerNorm without parameters keeps high-norm tokens from
        dominating what is pooled from them. Later blocks are not computed.
        """
        backbone = self.backbone
        last = len(backbone.layers) - 1 if block is None else block
        if not 0 <= last < len(backbone.layers):
            raise ConfigError(f"embed.block: {block}, but SAM3 has {len(backbone.layers)} blocks")
        hidden = self.hidden(images, last + 1).flatten(1, 2).float()
        return functional.layer_norm(hidden, hidden.shape[-1:])

    def hidden(
        self, images: Float[Tensor, "b 3 side side"], blocks: int
    ) -> Float[Tensor, "b row column dim"]:
        """The grid of tokens as it leaves the first `blocks` blocks; no later one is computed."""
        side = images.shape[-1] // self.patch
        hidden = self.backbone.embeddings(images.to(self.prompt_embeddings.dtype))
        hidden = self.backbone.layer_norm(hidden.view(len(images), side, side, -1))
        for layer in self.backbone.layers[:blocks]:
            hidden = layer(hidden)
        grid: Tensor = hidden
        return grid

    @contextmanager
    def at_resolution(self, side: int) -> Iterator[None]:
        """Inside the block the model takes images of `side` pixels; weights do not depend on it.

        Raises:
            ConfigError: not a multiple of the patch.
        """
        if side % self.patch:
            raise ConfigError(f"resolution {side} is not a multiple of the patch of {self.patch}")
        before = self.resolution
        self._set_resolution(side)
        try:
            yield
        finally:
            self._set_resolution(before)

    def _set_resolution(self, side: int) -> None:
        config = self.backbone.config
        if side == config.image_size:
            return
        config.image_size = side
        for layer in self.backbone.layers:
            if layer.window_size == 0:
                positions = layer.precompute_positions(config, 0)
                layer.position_ids = positions.to(layer.position_ids)


def load_sam(given: SamSettings, prompts: Sequence[str], pool: Candidates | None = None) -> Sam:
    """SAM3 with frozen weights and cached prompts; the text tower is dropped.

    Args:
        prompts: one text per foreground class, in the order of the classes.
        pool: further texts for hard negatives, see `salearn.generic_prompts`.

    Raises:
        WeightsError: the weights cannot be had, are damaged or do not fit the model.
        ConfigError: the resolution or a prompt is impossible, or CUDA is asked for and absent.
    """
    if given.device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("sam.device: cuda is asked for, but torch sees no CUDA device; use cpu")
    model, tokenizer = build_model(given)
    model = model.to(given.device).eval()
    text = embed_prompts(model, tokenizer, prompts)
    further = embed_pool(model, tokenizer, pool)
    if given.gradient_checkpointing:
        # transformers does not declare it for SAM3, though its ViT layers support it.
        model.supports_gradient_checkpointing = True
        name = "activation_checkpointing_enable"  # the older name is deprecated
        enable = getattr(model, name, None) or model.gradient_checkpointing_enable
        enable({"use_reentrant": False})
    return Sam(model, given, prompts, text, further)


def class_probabilities(
    logits: Float[Tensor, "b class *space"],
) -> Float[Tensor, "b all_classes *space"]:
    """Softmax over background (logit 0) and the foreground logits.

    For one class this is the sigmoid that SAM3 was trained with; for several it makes the
    independent answers of the prompts exclusive.
    """
    return functional.softmax(functional.pad(logits, [0, 0] * (logits.ndim - 2) + [1, 0]), dim=1)
