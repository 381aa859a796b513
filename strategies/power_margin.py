"""Power Margin: draw units with probability proportional to 1 - margin."""

from __future__ import annotations

from salearn.settings import settings
from strategies.registry import register
from strategies.scoring import MarginValues, Power


@register("power_margin")
@settings
class PowerMargin(MarginValues, Power):
    """log(margin) + Gumbel(0, 1/beta): margin with the noise that spreads a batch."""

    SOURCE = "Power acquisition (Kirsch et al., arXiv 2106.12059), voxel values aggregated"
