"""Oracle loss: the units that the model gets most wrong (an upper bound, not a method)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, UInt8

from salearn.cases import IGNORE, UnitId
from salearn.evidence import Evidence
from salearn.settings import settings
from strategies.maps import checked
from strategies.registry import register
from strategies.scoring import TopK

FLOOR = 1e-4  # probabilities are not less before their logarithm is taken (float16 on disk)


@register("oracle_loss")
@settings
class OracleLoss(TopK):
    """ORACLE: ranks unlabeled units by the model's true loss; a marked upper bound of difficulty.

    It opens masks that nobody annotated, each case an "audit" line of the query log. It bounds what
    a ranking by difficulty can gain, not what a diverse batch can.

    Attributes:
        loss: dice = 1 - mean Dice of the foreground classes in mask or prediction; ce = mean
            cross-entropy of a voxel over log(classes).
    """

    SOURCE = "oracle upper bound (reference 6.8): needs the true masks of unlabeled units"
    ORACLE = True

    loss: Literal["dice", "ce"] = "dice"

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """The true loss of each unit."""
        measure = dice_loss if self.loss == "dice" else cross_entropy
        pairs = ((checked(evidence.probabilities(u), u), evidence.audit_mask(u)) for u in units)
        return np.array([measure(p, mask) for p, mask in pairs])


def dice_loss(p: Float[np.ndarray, "class x y z"], mask: UInt8[np.ndarray, "x y z"]) -> float:
    """1 - mean Dice over foreground classes that mask or prediction show; 0 if there are none."""
    known = mask != IGNORE
    predicted, true = p.argmax(axis=0)[known], mask[known]
    both = np.bincount(true[predicted == true], minlength=len(p))[1:]
    sizes = (np.bincount(predicted, minlength=len(p)) + np.bincount(true, minlength=len(p)))[1:]
    if not sizes.any():
        return 0.0
    return float(1 - np.mean(2 * both[sizes > 0] / sizes[sizes > 0]))


def cross_entropy(p: Float[np.ndarray, "class x y z"], mask: UInt8[np.ndarray, "x y z"]) -> float:
    """Mean of -log p(true class) over known voxels, over log(classes); p is at least 1e-4."""
    known = mask != IGNORE
    if not known.any():
        return 0.0
    likelihood = np.take_along_axis(p, np.where(known, mask, 0)[None].astype(np.int64), axis=0)[0]
    losses = -np.log(np.maximum(likelihood[known], FLOOR))
    return float(losses.mean(dtype=np.float64) / np.log(len(p)))
