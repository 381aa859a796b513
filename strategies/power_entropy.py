"""Power Entropy: draw units with probability proportional to entropy."""

from __future__ import annotations

from salearn.settings import settings
from strategies.registry import register
from strategies.scoring import EntropyValues, Power


@register("power_entropy")
@settings
class PowerEntropy(EntropyValues, Power):
    """log(entropy) + Gumbel(0, 1/beta): entropy with the noise that spreads a batch."""

    SOURCE = "Power acquisition (Kirsch et al., arXiv 2106.12059), voxel values aggregated"
