"""Losses of SAM3's fine-tuning on mosaics."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from salearn.cases import IGNORE
from salearn.models.sam3 import class_probabilities

SMOOTH = 1.0
SFR_SMOOTH = 1e-10


@runtime_checkable
class PromptWeights(Protocol):
    """Weights of the prompt loss, see `FinetuneSettings`."""

    @property
    def positive_weight(self) -> float:
        """Of foreground pixels in the cross-entropy."""
        ...

    @property
    def bce_weight(self) -> float:
        """Of the cross-entropy."""
        ...

    @property
    def dice_weight(self) -> float:
        """Of Dice."""
        ...


def prompt_loss(
    logits: Float[Tensor, "b class h w"], target: Int[Tensor, "b h w"], given: PromptWeights
) -> Float[Tensor, ""]:
    """Weighted cross-entropy and Dice of each prompt against everything else.

    Pixels of value 255 (void, unannotated) reach neither term.
    """
    known = (target != IGNORE).unsqueeze(1).to(logits.dtype)
    classes = torch.arange(1, logits.shape[1] + 1, device=target.device).view(1, -1, 1, 1)
    truth = (target.unsqueeze(1) == classes).to(logits.dtype)
    entropy = functional.binary_cross_entropy_with_logits(
        logits,
        truth,
        weight=known,
        pos_weight=torch.tensor(given.positive_weight, device=logits.device),
        reduction="sum",
    ) / (known.sum() * logits.shape[1]).clamp_min(1)
    probability = torch.sigmoid(logits) * known
    axes = (0, 2, 3)
    overlap, size = (probability * truth).sum(axes), (probability + truth).sum(axes)
    dice = (1 - (2 * overlap + SMOOTH) / (size + SMOOTH)).mean()
    return given.bce_weight * entropy + given.dice_weight * dice


def sfr_loss(
    logits: Float[Tensor, "b class h w"],
    target: Int[Tensor, "b h w"],
    void: Literal["ignored", "in_dice"] = "ignored",
) -> Float[Tensor, ""]:
    """1/2 (Dice + CE) of the softmax over background and classes, background a class of its own.

    Args:
        void: "in_dice" leaves pixels of value 255 in Dice's denominators, as the released code
            does; cross-entropy leaves them out in either case.

    Source: SFR eq. 5; Dice form of its released code (squares, 1e-10, sums over the batch).
    """
    known = target != IGNORE
    p = class_probabilities(logits)
    hot = torch.zeros_like(p).scatter_(1, (target * known).unsqueeze(1), 1.0)
    hot = hot * known.unsqueeze(1)
    entropy = -(hot * p.clamp_min(1e-7).log()).sum() / known.sum().clamp_min(1)
    counted = p if void == "in_dice" else p * known.unsqueeze(1)
    axes = (0, 2, 3)
    overlap = (counted * hot).sum(axes)
    size = counted.square().sum(axes) + hot.square().sum(axes)
    dice = (1 - (2 * overlap + SFR_SMOOTH) / (size + SFR_SMOOTH)).mean()
    return 0.5 * (entropy + dice)
