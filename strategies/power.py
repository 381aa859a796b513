"""Power: the noise of power acquisition around any strategy that values units one by one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from salearn.cases import UnitId
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.registry import register
from strategies.scoring import Power, scorer_of


@register("power")
@settings
class PowerOf(Power):
    """log(value) + Gumbel(0, 1/beta) over the values of the strategy `scorer`.

    Attributes:
        scorer: a strategy that values units one by one: asd, ripu, ...
        scorer_settings: its settings.
        axis: slice axis, for a scorer that looks along slices.
    """

    SOURCE = "Power acquisition (Kirsch et al., arXiv 2106.12059) as a wrapper"

    scorer: str = "asd"
    scorer_settings: dict[str, Any] = Field(default_factory=dict)
    axis: int = Field(default=2, ge=0, le=2)

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """Those of the scorer.

        Raises:
            ConfigError: the scorer does not value units one by one.
        """
        inner = scorer_of(self.scorer, self.scorer_settings, self.axis, "power.scorer")
        return inner.values(units, labeled, evidence)
