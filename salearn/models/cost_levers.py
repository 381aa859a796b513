"""What the memory levers cost and save, counted without weights as in `salearn.models.cost`.

Levers: blocks of the vision trunk that stay frozen (no activations, no gradient below them), a
cache of what these blocks make of each mosaic, a teacher (a second set of trained tensors on the
same base), and a pretext that trains the trunk beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from salearn.models.arms.registry import Arm
from salearn.models.arms.whole import Full
from salearn.models.cost import GIB, block_bytes, flops
from salearn.models.lora import trainable
from salearn.models.prefix import frozen_blocks
from salearn.models.pretexts.mae import Mae
from salearn.models.pretexts.registry import Pretext
from salearn.models.sam3 import Sam

BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}


def frozen_cost(
    sam: Sam, arm: Arm, batch: int, counts: Mapping[str, float] | None = None
) -> dict[str, float]:
    """What an arm's frozen leading blocks save in a step.

    Args:
        sam: from `cost.unloaded_sam`.
        counts: of `cost.flops` for one image, where they are known.

    Returns:
        {"blocks", "frozen"}; "gib_not_kept": activations that the frozen blocks would keep if they
        were trained in full; GFLOP an image of the frozen "prefix", of what lies "behind" it, and
        of a training step without and with a cache ("train", "train_cached"). A step computes
        the frozen blocks once and what lies behind twice over (three times where activations are
        checkpointed), as `cost.flops` counts it.
    """
    adapted, whole = arm.adapt(sam, 0), Full().adapt(sam, 0)
    frozen, blocks = frozen_blocks(adapted), len(sam.backbone.layers)
    counts = counts or flops(sam, 1)
    prefix = _prefix_gflop(sam, frozen)
    behind = counts["forward"] - prefix
    passes = 3 if sam.settings.gradient_checkpointing and frozen < blocks else 2
    passes = passes if trainable(adapted) else 1
    return {
        "blocks": blocks,
        "frozen": frozen,
        "gib_not_kept": sum(block_bytes(whole, batch)[:frozen]) / GIB,
        "prefix_gflop": prefix,
        "behind_gflop": behind,
        "train_gflop": prefix + passes * behind,
        "train_cached_gflop": passes * behind,
    }


def _prefix_gflop(sam: Sam, blocks: int) -> float:
    from torch.utils.flop_counter import FlopCounterMode

    if not blocks:
        return 0.0
    images = torch.empty(1, 3, sam.resolution, sam.resolution, device=sam.device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        sam.hidden(images, blocks)
    return float(counter.get_total_flops() / 1e9)


def feature_bytes(sam: Sam, dtype: str) -> int:
    """Of the features of one mosaic behind any block of the trunk: tokens x width."""
    tokens = (sam.resolution // sam.patch) ** 2
    return tokens * int(sam.backbone.config.hidden_size) * BYTES[dtype]


def teacher_bytes(sam: Sam, arm: Arm) -> int:
    """Of a second set of what an arm trains; the base is shared."""
    return sum(p.numel() * p.element_size() for p in trainable(arm.adapt(sam, 0)).values())


def pretext_cost(sam: Sam, pretext: Pretext) -> dict[str, Any] | None:
    """What training the trunk beforehand takes; None for a pretext that is not known here.

    "gib" holds two trunks (the old one stays), gradients, AdamW's two moments, an average where
    there is one, and the activations of `micro` pictures. The decoder that is thrown away is left
    out. Forms B and C pass visible tokens only; their share is taken of all counts, which is a
    little too low (global attention falls with its square, embeddings are made for all).
    """
    if not isinstance(pretext, Mae):
        return None
    side = pretext.shown(sam).side
    share = 1.0 if pretext.form == "A" else 1 - pretext.mask
    size = sum(p.numel() * p.element_size() for p in sam.backbone.parameters())
    with sam.at_resolution(side):
        gflop = _prefix_gflop(sam, len(sam.backbone.layers)) * share
        kept = sum(block_bytes(Full().adapt(sam, 0), pretext.micro)) * share
    parts = {"weights": 2 * size, "gradients": size, "optimiser": 2 * size, "activations": kept}
    parts |= {"average": size} if pretext.ema else {}
    gib = {name: count / GIB for name, count in parts.items()}
    return {
        "form": pretext.form,
        "side": side,
        "parameters": sum(p.numel() for p in sam.backbone.parameters()),
        "iterations": pretext.iterations,
        "batch": pretext.batch,
        "gflop": gflop,
        "pflop_all": 3 * gflop * pretext.batch * pretext.iterations / 1e6,
        "gib": gib | {"total": sum(gib.values())},
    }
