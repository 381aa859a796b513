"""Losses of SAM3's fine-tuning on mosaics."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from salearn.cases import IGNORE
from salearn.losses import focal, positive_dice
from salearn.models.sam3 import class_probabilities
from salearn.settings import Field, settings

SMOOTH = 1.0
SFR_SMOOTH = 1e-10


@settings
class SemanticSettings:
    """Weights of finetune.loss=semantic; a term of weight 0 is left out.

    Attributes:
        dice: lambda_d, of Dice, which only prompts with something to find have.
        focal: lambda_f, of the focal loss of all prompts. alpha: weight of positive pixels in it
            (.25 to .6 in the source; .6 is SAM3's own for its semantic head). gamma: its exponent.
        presence: lambda_p, of the cross-entropy of the presence logit against "the mask is not
            empty"; above 0 it needs sam.presence.
        negatives: lambda_n, of the pixel term of hard negatives (tier 1 of finetune.mining).

    Source: adaptation notes 3.6 (the binary text-prompted default, a reconstruction).
    """

    dice: float = Field(default=1.0, ge=0)
    focal: float = Field(default=1.0, ge=0)
    alpha: float = Field(default=0.6, ge=0, le=1)
    gamma: float = Field(default=2.0, ge=0)
    presence: float = Field(default=0.5, ge=0)
    negatives: float = Field(default=1.0, ge=0)


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


def known_truth(
    target: Int[Tensor, "b h w"], num_prompts: int
) -> tuple[Bool[Tensor, "b class h w"], Bool[Tensor, "b 1 h w"]]:
    """Where each prompt's structure is, and which pixels are known."""
    classes = torch.arange(1, num_prompts + 1, device=target.device).view(1, -1, 1, 1)
    return target.unsqueeze(1) == classes, (target != IGNORE).unsqueeze(1)


def prompt_loss(
    logits: Float[Tensor, "b class h w"],
    target: Int[Tensor, "b h w"],
    given: PromptWeights,
    weights: Float[Tensor, "b class h w"] | None = None,
) -> Float[Tensor, ""]:
    """Weighted cross-entropy and Dice of each prompt against everything else.

    Pixels of value 255 (void, unannotated) reach neither term.

    Args:
        weights: of pixels in the cross-entropy, which becomes a weighted mean; None = all alike.
    """
    found, seen = known_truth(target, logits.shape[1])
    known, truth = seen.to(logits.dtype), found.to(logits.dtype)
    weight = known if weights is None else known * weights
    total = known.sum() * logits.shape[1] if weights is None else weight.sum()
    entropy = functional.binary_cross_entropy_with_logits(
        logits,
        truth,
        weight=weight,
        pos_weight=torch.tensor(given.positive_weight, device=logits.device),
        reduction="sum",
    ) / total.clamp_min(1)
    probability = torch.sigmoid(logits) * known
    axes = (0, 2, 3)
    overlap, size = (probability * truth).sum(axes), (probability + truth).sum(axes)
    dice = (1 - (2 * overlap + SMOOTH) / (size + SMOOTH)).mean()
    return given.bce_weight * entropy + given.dice_weight * dice


def semantic_loss(
    logits: Float[Tensor, "b class h w"],
    presence: Float[Tensor, "b text"] | None,
    target: Int[Tensor, "b h w"],
    given: SemanticSettings,
    weights: Float[Tensor, "b class h w"] | None = None,
) -> Float[Tensor, ""]:
    """Dice of positive prompts, focal loss of all, cross-entropy of presence; see the settings.

    An image in which nothing is known has no say about presence. What is annotated in part is
    taken as it is: a structure that is only in the unannotated part counts as absent.

    Args:
        presence: logits of the classes, then of prompts with nothing to find; None where their term
            has no weight.
        weights: of pixels in the focal loss, which becomes a weighted mean; None = all alike.
    """
    found, seen = known_truth(target, logits.shape[1])
    known, truth = seen.to(logits.dtype), found.to(logits.dtype)
    weight = known.expand_as(logits) if weights is None else known * weights
    pixels = focal(logits, truth, given.alpha, given.gamma)
    loss = given.focal * (pixels * weight).sum() / weight.sum().clamp_min(1)
    if given.dice:
        loss = loss + given.dice * positive_dice(logits, truth, known)
    if presence is not None:
        said = seen.flatten(2).any(2).expand_as(presence)
        more = presence.shape[1] - found.shape[1]
        there = functional.pad(found.flatten(2).any(2), [0, more])
        entropy = functional.binary_cross_entropy_with_logits(
            presence, there.to(presence.dtype), weight=said.to(presence.dtype), reduction="sum"
        )
        loss = loss + given.presence * entropy / said.sum().clamp_min(1)
    return loss


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
