"""Stratified random: one unit from each of n equal parts of the pool."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from salearn.cases import Pool, Selection, UnitId, best, check_request, parse_unit, unit_id
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.registry import register


@register("stratified_random")
@settings
class StratifiedRandom:
    """The pool is put in an order, cut into n parts, and one unit is drawn from each.

    Looks at no image: spread over volumes and along them, or over the sizes of volumes.

    Attributes:
        by: place = case and position in it; size = voxels; auto = size for volumes, place for
            slices and patches.
    """

    SOURCE = "stratified sampling with one unit a stratum (Cochran 1977)"

    by: Literal["auto", "place", "size"] = "auto"

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Draw one unit from each of n parts; which parts are one larger is drawn too.

        Scores are 1 / (place in the drawn order of the own part): 1 for who was drawn.
        """
        check_request(pool, n)
        units = sorted(pool.unlabeled)
        shuffled = rng.permutation(len(units)).tolist()
        keys = self._keys(units, evidence)
        order = sorted(shuffled, key=lambda row: keys[row])  # stable: equal sizes stay shuffled
        scores: dict[UnitId, float] = {}
        first = 0
        for size in _sizes(len(units), max(n, 1), rng):
            part = rng.permutation(order[first : first + size]).tolist()
            scores |= {units[row]: 1 / (place + 1) for place, row in enumerate(part)}
            first += size
        return best(scores, n, rng)

    def _keys(self, units: Sequence[UnitId], evidence: Evidence) -> list[tuple[str, int]]:
        whole = all(unit == unit_id(parse_unit(unit)[0]) for unit in units)
        if self.by == "size" or (self.by == "auto" and whole):
            return [("", int(np.prod(evidence.extent(unit)))) for unit in units]
        places = [(unit, *parse_unit(unit)) for unit in units]
        return [(str(case if z is not None else unit), z or 0) for unit, case, z in places]


def _sizes(count: int, parts: int, rng: np.random.Generator) -> list[int]:
    """Sizes of the parts, as equal as can be, in a drawn order."""
    sizes = [count // parts + (part < count % parts) for part in range(parts)]
    return [sizes[i] for i in rng.permutation(parts)]
