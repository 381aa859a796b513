"""Losses of segmentation and consistency, and the ramps that weight them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from salearn.cases import IGNORE

SMOOTH = 1e-5


def segmentation_loss(
    logits: Float[Tensor, "b class *space"],
    mask: Int[Tensor, "b *space"],
    squared: bool = True,
    background: bool = True,
) -> Float[Tensor, ""]:
    """Half the cross-entropy plus half the Dice loss against a hard mask; 0 if all is ignored.

    Args:
        mask: class of each voxel, or `IGNORE`.
        squared: squares in the denominator of Dice, the form of SFR and UA-MT.
        background: class 0 takes part in the mean of Dice over classes.

    Source: SFR eq. 5; Dice form of its released code (sums over batch and voxels together).
    """
    known = mask != IGNORE
    hot = torch.zeros_like(logits).scatter_(1, (mask * known).long().unsqueeze(1), 1.0)
    return soft_segmentation_loss(logits, hot, known.to(logits.dtype), squared, background)


def soft_segmentation_loss(
    logits: Float[Tensor, "b class *space"],
    target: Float[Tensor, "b class *space"],
    weight: Float[Tensor, "b *space"] | None = None,
    squared: bool = True,
    background: bool = True,
) -> Float[Tensor, ""]:
    """Half cross-entropy plus half Dice against class probabilities, voxels weighted.

    Args:
        target: probabilities that sum to 1 over classes (one-hot for hard labels).
        weight: 0..1 for each voxel; None = 1 everywhere. All 0 gives a loss of 0.

    Source: SFR eq. 7, with soft targets and weights as our extension.
    """
    log_p = torch.log_softmax(logits, dim=1)
    if weight is None:
        weight = torch.ones_like(logits[:, 0])
    entropy = _weighted_mean(-(target * log_p).sum(1), weight)
    return 0.5 * (entropy + dice_loss(log_p.exp(), target, weight, squared, background))


def dice_loss(
    probabilities: Float[Tensor, "b class *space"],
    target: Float[Tensor, "b class *space"],
    weight: Float[Tensor, "b *space"],
    squared: bool = True,
    background: bool = True,
    smooth: float = SMOOTH,
) -> Float[Tensor, ""]:
    """1 - Dice, the mean over classes; a class absent from target and prediction costs nothing."""
    first = 0 if background else 1
    p, y, w = probabilities[:, first:], target[:, first:], weight.unsqueeze(1)
    axes = [0, *range(2, p.ndim)]
    overlap = (w * p * y).sum(axes)
    size = (w * (p * p + y * y)).sum(axes) if squared else (w * (p + y)).sum(axes)
    return (1 - (2 * overlap + smooth) / (size + smooth)).mean()


def focal(
    logits: Float[Tensor, "*shape"],
    truth: Float[Tensor, "*shape"],
    alpha: float | None = 0.25,
    gamma: float = 2.0,
) -> Float[Tensor, "*shape"]:
    """Focal loss of every pixel: alpha_t (1 - p_t)^gamma times the cross-entropy.

    Args:
        alpha: weight of positives, 1 - alpha that of negatives; None = no weighting.

    Source: Lin et al. 2017, in the binary form of SAM3's mask losses.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    p = torch.sigmoid(logits)
    wrong = p + truth - 2 * p * truth  # 1 - p_t
    weighted = wrong**gamma * entropy
    return weighted if alpha is None else weighted * (alpha * truth + (1 - alpha) * (1 - truth))


def positive_dice(
    logits: Float[Tensor, "b class h w"],
    truth: Float[Tensor, "b class h w"],
    known: Float[Tensor, "b 1 h w"],
    smooth: float = 1.0,
) -> Float[Tensor, ""]:
    """1 - Dice of each prompt in each image, the mean over those with anything to find; else 0.

    Source: adaptation notes 3.6: 1 - (2 sum(p y) + 1) / (sum p + sum y + 1) per sample, on positive
    prompts only (an empty one would ask for an empty map far more loudly than the pixels do).
    """
    p, y = torch.sigmoid(logits) * known, truth * known
    size = y.sum((2, 3))
    lost = 1 - (2 * (p * y).sum((2, 3)) + smooth) / (p.sum((2, 3)) + size + smooth)
    present = size > 0
    return (lost * present).sum() / present.sum().clamp_min(1)


def mined_pixels(
    logits: Float[Tensor, "b class h w"],
    truth: Bool[Tensor, "b class h w"],
    known: Bool[Tensor, "b class h w"],
    ratio: float = 3.0,
    floor: float = 0.005,
) -> Bool[Tensor, "b class h w"]:
    """Pixels that online hard example mining keeps: all positives, and the worst of the negatives.

    For each prompt in each image these are the K = min(N, ratio max(P, floor Omega)) background
    pixels of the highest loss, which are those of the highest logit; P, N and Omega count positive,
    negative and all known pixels. K is rounded up.

    Source: adaptation notes 8.1, pixel tier (a reconstruction).
    """
    kept = truth & known
    negative = known & ~truth
    for index in range(logits.shape[0] * logits.shape[1]):
        b, c = divmod(index, logits.shape[1])
        flat = negative[b, c].flatten()
        least = max(int(kept[b, c].sum()), floor * int(known[b, c].sum()))
        count = min(int(flat.sum()), math.ceil(ratio * least))
        scores = logits[b, c].detach().flatten().masked_fill(~flat, -math.inf)
        chosen = scores.topk(count).indices
        kept[b, c].view(-1)[chosen] = True
    return kept


def consistency_mse(
    student: Float[Tensor, "b class *space"],
    teacher: Float[Tensor, "b class *space"],
    weight: Float[Tensor, "b *space"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared difference of the softmaxes of two logits, over voxels and classes.

    The gradient flows to the student only. Source: Mean Teacher as in UA-MT and SFR.
    """
    target = torch.softmax(teacher.detach(), dim=1)
    squares = (torch.softmax(student, dim=1) - target).square().mean(1)
    return squares.mean() if weight is None else _weighted_mean(squares, weight)


def one_hot(labels: Int[Tensor, "b *space"], num_classes: int) -> Float[Tensor, "b _class *space"]:
    """Labels 0..K-1 as class probabilities of 0 and 1."""
    hot = torch.zeros((len(labels), num_classes, *labels.shape[1:]), device=labels.device)
    return hot.scatter_(1, labels.long().unsqueeze(1), 1.0)


def entropy(probabilities: Float[Tensor, "b class *space"]) -> Float[Tensor, "b *space"]:
    """-sum p ln p of each voxel, 0..ln K (UA-MT's form, 1e-6 inside the logarithm)."""
    return -(probabilities * torch.log(probabilities + 1e-6)).sum(1)


def confident(
    probabilities: Float[Tensor, "b class *space"], threshold: float
) -> tuple[Int[Tensor, "b *space"], Float[Tensor, "b *space"]]:
    """Labels, and 1 where the greatest probability reaches the threshold (FixMatch), else 0."""
    greatest, labels = probabilities.max(1)
    return labels, (greatest >= threshold).to(probabilities.dtype)


def sigmoid_ramp(progress: float, length: float = 1.0) -> float:
    """exp(-5 (1 - x)^2), x = progress / length held in 0..1: rises from 0.0067 to 1.

    Args:
        progress: share of the training done, 0..1.
        length: share of the training at which the ramp ends; 0 = no ramp, always 1.
    """
    x = 1.0 if length <= 0 else min(max(progress / length, 0.0), 1.0)
    return math.exp(-5.0 * (1.0 - x) ** 2)


def linear_decay(progress: float) -> float:
    """1 - progress, held in 0..1 (the decay that SFR's code leaves commented out)."""
    return 1.0 - min(max(progress, 0.0), 1.0)


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    # The floor keeps 0/0 out when nothing is weighted; any real sum of weights is far above it.
    return (values * weight).sum() / weight.sum().clamp_min(1e-6)
