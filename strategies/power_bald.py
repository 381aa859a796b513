"""Power Bald: draw units with probability proportional to BALD."""

from __future__ import annotations

from salearn.settings import settings
from strategies.registry import register
from strategies.scoring import BaldValues, Power


@register("power_bald")
@settings
class PowerBald(BaldValues, Power):
    """log(bald) + Gumbel(0, 1/beta): bald with the noise that spreads a batch."""

    SOURCE = "Power acquisition (Kirsch et al., arXiv 2106.12059), voxel values aggregated"
