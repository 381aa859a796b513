"""BALD: ask for the units on which stochastic passes disagree."""

from __future__ import annotations

from salearn.settings import settings
from strategies.registry import register
from strategies.scoring import BaldValues, TopK


@register("bald")
@settings
class Bald(BaldValues, TopK):
    """Mutual information H(mean p) - mean H(p) over test-time views or dropout, aggregated.

    Every unit is valued by itself (greedy BALD, not the joint BatchBALD).
    """

    SOURCE = "Houlsby et al. 2011 (arXiv 1112.5745); dropout: Gal et al. 2017; views: ours"
