"""Entropy: ask for the units whose voxels are least decided."""

from __future__ import annotations

from salearn.settings import settings
from strategies.registry import register
from strategies.scoring import EntropyValues, TopK


@register("entropy")
@settings
class Entropy(EntropyValues, TopK):
    """Predictive entropy H = -sum_c p_c log p_c / log C of the mean prediction, aggregated."""

    SOURCE = "Shannon 1948; for 3-D patches nnActive (TMLR 2025), there the box mean"
