"""Learning rates of a fine-tuning: over its iterations, and over the layers of the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from salearn.models.arms.registry import Arm


@runtime_checkable
class Rates(Protocol):
    """What of `FinetuneSettings` says how the rate goes."""

    @property
    def iterations(self) -> int:
        """Of the training."""
        ...

    @property
    def learning_rate(self) -> float:
        """The highest."""
        ...

    @property
    def warmup(self) -> float:
        """Share of the iterations in which the rate rises."""
        ...

    @property
    def schedule(self) -> Literal["cosine", "poly"]:
        """How it falls."""
        ...


def learning_rate(given: Rates, iteration: int) -> float:
    """Linear warm-up, then cosine or polynomial (power 0.9) decay to 0."""
    warm = round(given.warmup * given.iterations)
    if iteration < warm:
        return given.learning_rate * (iteration + 1) / warm
    share = (iteration - warm) / max(1, given.iterations - warm)
    decay = 0.5 * (1 + math.cos(math.pi * share))
    return given.learning_rate * (decay if given.schedule == "cosine" else (1 - share) ** 0.9)


def parameter_groups(
    parameters: Mapping[str, Tensor], arm: Arm, blocks: int
) -> list[dict[str, Any]]:
    """Parameters of one learning rate each; an arm may scale it by the depth of a layer."""
    scale_of = getattr(arm, "rate_scale", lambda name, blocks: 1.0)
    groups: dict[float, list[Tensor]] = {}
    for name, parameter in parameters.items():
        groups.setdefault(scale_of(name, blocks), []).append(parameter)
    groups = groups or {1.0: [torch.zeros(0)]}  # zero-shot: an optimiser wants something
    return [{"params": tensors, "scale": scale} for scale, tensors in groups.items()]
