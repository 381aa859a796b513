"""Slices of one step from several volumes, so that none gives too many without a structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int, UInt8

from salearn.hard_negatives import take_slices, volume_limit, wanted_negatives

if TYPE_CHECKING:
    from loops.tuning.mining import Mining


class SpreadPick:
    """Chooses the slices of one step, volume by volume; another step takes another one.

    On the first visit a volume gives slices with a structure as long as the step wants any, and no
    more than `volume_limit` without. If all volumes together do not fill the step, what is missing
    is chosen as without a limit.

    Args:
        volumes: how many a step can be drawn from.
    """

    def __init__(self, mining: Mining, volumes: int) -> None:
        self._mining, self._volumes = mining, volumes
        self._visited: set[int] = set()
        self._positives = self._negatives = self._limit = 0

    def __call__(
        self,
        volume: int,
        mask: UInt8[np.ndarray, "mosaic h w"],
        used: Int[np.ndarray, " used"],
        count: int,
        rng: np.random.Generator,
    ) -> Int[np.ndarray, " chosen"]:
        """What a volume gives to the `count` slices that the step still needs."""
        given = self._mining.now
        if not self._visited:  # `count` is the whole step
            self._negatives = wanted_negatives(count, given, rng)
            self._positives = count - self._negatives
            self._limit = volume_limit(self._negatives, self._volumes, given.per_volume)
        if volume in self._visited:
            return self._mining.pick(volume, mask, used, count, rng)
        self._visited.add(volume)
        present, hard = self._mining.looked(volume, mask, used, rng)
        yes = min(int(present.sum()), self._positives)
        no = min(int((~present).sum()), self._negatives, self._limit)
        self._positives, self._negatives = self._positives - yes, self._negatives - no
        chosen: np.ndarray = used[take_slices(present, hard, yes, no, given, rng)]
        return chosen
