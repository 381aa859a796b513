"""Margin: ask for the units where two classes are nearly as likely."""

from __future__ import annotations

from salearn.settings import settings
from strategies.registry import register
from strategies.scoring import MarginValues, TopK


@register("margin")
@settings
class Margin(MarginValues, TopK):
    """1 - (largest - second largest probability) of the mean prediction, aggregated."""

    SOURCE = "Scheffer et al. 2001 (margin sampling), voxel by voxel"
