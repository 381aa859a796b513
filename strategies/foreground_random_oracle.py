"""Foreground-aware random with true masks: an annotator who points at structures (oracle)."""

from __future__ import annotations

import numpy as np

from salearn.cases import IGNORE, Pool, Selection, check_request
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.presence import PresenceSettings
from strategies.registry import register


@register("foreground_random_oracle")
@settings
class ForegroundRandomOracle(PresenceSettings):
    """ORACLE: as foreground_random, but by the true masks of unlabeled units.

    It simulates an annotator who leafs through the images and points at structures; it can be
    beaten honestly, but it is no strategy for unlabeled data. Each case that it opens is an
    "audit" line of the query log.
    """

    SOURCE = "oracle baseline: nnActive's random-label (TMLR 2025), units drawn evenly"
    ORACLE = True

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Draw n units; works from round 0 on."""
        check_request(pool, n)
        units = sorted(pool.unlabeled)
        if not units:
            return Selection(unit_ids=(), scores={})
        found = [np.bincount(evidence.audit_mask(unit).ravel(), minlength=256) for unit in units]
        table = np.array(found, dtype=float)[:, 1:IGNORE]
        return self.draw(units, table, n, rng)
