"""What SAM3 costs before it is loaded: parameters, FLOPs and memory, counted on the meta device.

Nothing is downloaded and nothing is computed: the model is built of shapes alone, one training step
is traced, and what autograd would keep is added up.

Memory of a training step, in bytes:

    weights      parameters of the base without text tower, plus the trained copies
    gradients    trainable parameters x their size
    optimiser    2 x trainable parameters x their size (AdamW: two moments)
    activations  every tensor that autograd keeps for the backward pass, each storage once;
                 with checkpointing the inputs of the ViT blocks and the tensors of one block;
                 ViT blocks before the first one that is trained keep nothing

What the formula leaves out: the workspace of kernels, the allocator's slack (10-20 % on CUDA), the
CUDA context (about 0.5 GiB), and the images themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from salearn.errors import WeightsError
from salearn.models.arms.registry import Arm
from salearn.models.components import count_by_component
from salearn.models.lora import trainable
from salearn.models.prefix import frozen_blocks
from salearn.models.sam3 import Sam, SamSettings
from salearn.models.sam3_weights import HUB, TINY, set_resolution, weights_folder

GIB = 2**30
# Measured with real tensors of full size (reference notes, SAM3 part, 2.5): GFLOP an image of this
# side, of the vision encoder and of everything behind it for one prompt. The latter includes DETR
# decoder and instance masks, which the semantic path leaves out: ours is lower.
PUBLISHED = {336: (580, 32), 672: (2386, 113), 1008: (5614, 247)}
FULL_SIZE = 840_376_374


def unloaded_sam(given: SamSettings, prompts: Sequence[str], device: str = "meta") -> Sam:
    """The SAM3 that these settings name, without its weights: none is read.

    The hub's model is built from the sizes of its published configuration, so neither access nor
    network is needed.

    Args:
        device: "meta" = shapes alone; another one gets random weights, good for timing only.

    Raises:
        WeightsError: a folder that is named has no readable config.json.
        ConfigError: the resolution is impossible.
    """
    from transformers import Sam3Model

    config = _config(given)
    set_resolution(config, given)
    config._attn_implementation = given.attn
    with torch.device(device):
        model = Sam3Model(config).to(getattr(torch, given.dtype))
        dim = config.detr_encoder_config.hidden_size
        length = config.text_config.max_position_embeddings
        text = torch.zeros(len(prompts), length, dim, dtype=getattr(torch, given.dtype))
        mask = torch.ones(len(prompts), length, dtype=torch.bool)
        sam = Sam(model, given, prompts, (text, mask))
    if device == "meta":
        # transformers asks whether the mask is all ones, which a meta tensor cannot answer.
        del sam.prompt_mask
        sam.prompt_mask = _NoMask()  # type: ignore[assignment]
    return sam


class _NoMask:
    """Stands for a mask of ones: every token of the prompt counts."""

    def repeat(self, *_: int) -> None:
        """As `Tensor.repeat`; without a mask attention sees everything."""


def _config(given: SamSettings) -> Any:
    from transformers import Sam3Config

    from salearn.models.sam3_tiny import tiny_config

    if given.weights == TINY:
        return tiny_config()
    if given.weights == HUB:
        return Sam3Config()
    folder = weights_folder(given.weights)
    try:
        config = Sam3Config.from_pretrained(str(folder), local_files_only=True)
    # json and transformers raise kinds of their own for a damaged folder.
    except Exception as error:
        raise WeightsError(f"{folder}: config.json cannot be read ({error})") from error
    return getattr(config, "detector_config", None) or config


def checkpointing(sam: Sam) -> None:
    """Let the ViT keep the inputs of its blocks only, as `load_sam` does where it is asked to."""
    sam.model.supports_gradient_checkpointing = True
    name = "activation_checkpointing_enable"  # the older name is deprecated
    enable = getattr(sam.model, name, None) or sam.model.gradient_checkpointing_enable
    enable({"use_reentrant": False})


def parameters(sam: Sam) -> dict[str, int]:
    """Parameters of the base by component, "text" from the total: the tower itself is dropped."""
    counts = count_by_component(sam.model.named_parameters())
    counts["text"] = sam.base_parameters - sum(p.numel() for p in sam.model.parameters())
    return counts | {"all": sam.base_parameters}


def flops(sam: Sam, batch: int = 1) -> dict[str, float]:
    """GFLOP (2 x multiply-add) of one forward pass: vision encoder, heads with all prompts.

    "train" is what a step costs: the forward pass twice over for LoRA and its like (activations'
    gradients), one more with checkpointing. With "published" beside it where the reference has a
    measured value for one prompt at this side.
    """
    from torch.utils.flop_counter import FlopCounterMode

    images = _images(sam, batch)
    with torch.no_grad(), FlopCounterMode(display=False) as vision:
        sam.model.vision_encoder(images.to(sam.prompt_embeddings.dtype))
    with torch.no_grad(), FlopCounterMode(display=False) as whole:
        sam(images)
    counts = {"vision": vision.get_total_flops() / 1e9, "forward": whole.get_total_flops() / 1e9}
    counts["heads"] = counts["forward"] - counts["vision"]
    passes = 3 if sam.settings.gradient_checkpointing else 2
    found = counts | {"train": passes * counts["forward"]}
    if sam.base_parameters == FULL_SIZE and sam.resolution in PUBLISHED:
        names = ("published_vision", "published_heads")
        found |= {n: float(g) for n, g in zip(names, PUBLISHED[sam.resolution], strict=True)}
    return found


def step_memory(sam: Sam, arm: Arm, batch: int, amp: bool = False) -> dict[str, float]:
    """GiB of a training step, by the formula of this module, with and without checkpointing.

    Args:
        sam: from `unloaded_sam`. batch: images in a step. amp: under bfloat16 autocast.
    """
    adapted = arm.adapt(sam, 0).train()
    opened = trainable(adapted)
    base = _bytes(sam.model.parameters())
    trained = _bytes(opened.values())
    kept = _kept(adapted, batch, amp) if opened else 0
    checkpointed = _checkpointed(adapted, batch, kept)
    fixed = {
        "weights": base + trained, "gradients": trained, "optimiser": 2 * trained,
    }  # fmt: skip
    parts = fixed | {"activations": kept, "activations_checkpointed": checkpointed}
    found = {name: count / GIB for name, count in parts.items()}
    found["total"] = (sum(fixed.values()) + kept) / GIB
    found["total_checkpointed"] = (sum(fixed.values()) + checkpointed) / GIB
    return found


def trainable_counts(sam: Sam, arm: Arm) -> dict[str, int]:
    """Parameters that the arm trains, by component and in all."""
    adapted = arm.adapt(sam, 0)
    counts = count_by_component(adapted.model.named_parameters(), trainable=True)
    found = {name: count for name, count in counts.items() if count}
    return found | {"all": sum(p.numel() for p in trainable(adapted).values())}


def _images(sam: Sam, batch: int) -> Tensor:
    return torch.empty(batch, 3, sam.resolution, sam.resolution, device=sam.device)


def _bytes(tensors: Any) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _kept(sam: Sam, batch: int, amp: bool) -> int:
    """Bytes that autograd keeps for the backward pass of a step, parameters left out."""
    with torch.autocast("cuda", dtype=torch.bfloat16, enabled=amp):
        return kept_by(sam, _images(sam, batch))


def _checkpointed(sam: Sam, batch: int, kept: int) -> int:
    """The same if each ViT block kept its input only and one block at a time were recomputed."""
    inside = block_bytes(sam, batch)[frozen_blocks(sam) :] if kept else []
    width = sam.backbone.config.hidden_size
    tokens = batch * (sam.resolution // sam.patch) ** 2
    size = torch.tensor([], dtype=sam.prompt_embeddings.dtype).element_size()
    inputs = len(inside) * tokens * int(width) * size
    return kept - sum(inside) + inputs + max(inside, default=0)


def block_bytes(sam: Sam, batch: int) -> list[int]:
    """Bytes that each ViT block keeps where a gradient passes it."""
    side = sam.resolution // sam.patch
    hidden = torch.empty(
        batch, side, side, sam.backbone.config.hidden_size,
        device="meta", dtype=sam.prompt_embeddings.dtype, requires_grad=True,
    )  # fmt: skip
    found: dict[tuple[int, int], int] = {}  # blocks of one kind keep the same
    counts = []
    for layer in sam.backbone.layers:
        kind = layer.window_size, sum(p.numel() for p in layer.parameters() if p.requires_grad)
        if kind not in found:
            found[kind] = kept_by(layer, hidden)
        counts.append(found[kind])
    return counts


def kept_by(module: nn.Module, given: Tensor) -> int:
    """Bytes that autograd keeps of one call, its own parameters and the input left out."""
    own = (*module.parameters(), *module.buffers(), given)
    known = {tensor.untyped_storage()._cdata for tensor in own}
    kept: dict[int, tuple[Any, int]] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in known:  # held, so that no address is used twice
            kept.setdefault(storage._cdata, (storage, storage.nbytes()))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = module(given)
    del out
    return sum(size for _, size in kept.values())
