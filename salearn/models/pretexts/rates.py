"""Learning rates and weight decay of a continued pretraining."""

from __future__ import annotations

import math
from typing import Any

from torch import nn

from salearn.models.arms.whole import Full
from salearn.models.pretexts.mae import Mae


def rate_share(given: Mae, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine to 0; share of the full rate."""
    warm = round(given.warmup * steps)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def groups_of(
    given: Mae, trunk: dict[str, nn.Parameter], fresh: dict[str, nn.Parameter], blocks: int
) -> list[dict[str, Any]]:
    """Rates by depth, and no weight decay of biases, norms and single vectors."""
    depth = Full(layer_decay=given.layer_decay)
    named = [(given.learning_rate * depth.rate_scale(n, blocks), p) for n, p in trunk.items()]
    named += [(given.decoder_rate, p) for p in fresh.values()]
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for rate, parameter in named:
        decay = given.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [{"params": p, "full": r, "weight_decay": d} for (r, d), p in groups.items()]
