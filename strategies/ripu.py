"""RIPU: ask for units with regions where many predicted classes meet and none is certain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from salearn.cases import UnitId
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.maps import AggregateSettings, checked
from strategies.regions import uncertainty
from strategies.registry import register
from strategies.scoring import TopK


@register("ripu")
@settings
class Ripu(AggregateSettings, TopK):
    """Region impurity x prediction uncertainty, aggregated over the voxels of a unit.

    Around every voxel, in a box of 2 * reach + 1 voxels cut at the border of the unit: entropy of
    the shares of predicted classes, times the mean entropy of the prediction; both over log C.

    Attributes:
        reach: voxels to each side.
    """

    SOURCE = "RIPU (Xie et al., CVPR 2022); boxes for squares and units for regions: ours"

    reach: int = Field(default=1, ge=0)

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """Aggregated impurity x uncertainty."""
        maps = (checked(evidence.probabilities(unit), unit) for unit in units)
        return np.array([self.aggregated(impurity(p, self.reach)) for p in maps])


def impurity(p: Float[np.ndarray, "class x y z"], reach: int) -> Float[np.ndarray, "x y z"]:
    """P * U of every voxel, 0..1."""
    likeliest = p.argmax(axis=0)
    voxels = _box_sum(np.ones(likeliest.shape), reach)
    mixed = np.zeros(likeliest.shape)
    for c in range(len(p)):
        mixed += entr(_box_sum((likeliest == c).astype(float), reach) / voxels)
    doubt = _box_sum(uncertainty(p, "entropy").astype(float), reach) / voxels
    product: np.ndarray = np.clip(mixed / np.log(len(p)), 0, 1) * doubt
    return product


def _box_sum(values: Float[np.ndarray, "x y z"], reach: int) -> np.ndarray:
    from scipy.ndimage import convolve1d

    total = values
    for axis in range(3):
        total = convolve1d(total, np.ones(2 * reach + 1), axis=axis, mode="constant")
    return total
