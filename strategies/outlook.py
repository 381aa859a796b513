"""What annotation of a unit is expected to show and to cost, by the current predictions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from salearn.cases import Pool, UnitId, parse_unit
from salearn.evidence import Evidence
from salearn.oracle import CostModel

LEAST = 0.5  # voxels of expected foreground below which a slice, or a unit, counts as empty


@dataclass(frozen=True, kw_only=True)
class Outlook:
    """Predicted class, drawn slices and foreground voxels of every unlabeled unit.

    Attributes:
        known: something is trained, so the fields below are filled.
        classes: 0-based foreground class that a unit holds most of, relative to the pool's mean
            (so that rare classes count); -1 = none is predicted.
        slices, voxels: expected slices with foreground (at least 1) and foreground voxels.
    """

    known: bool = False
    num_classes: int = 0
    classes: Mapping[UnitId, int] = field(default_factory=dict)
    slices: Mapping[UnitId, int] = field(default_factory=dict)
    voxels: Mapping[UnitId, float] = field(default_factory=dict)

    def seconds(self, unit: UnitId, cost: CostModel, first_slices: int) -> float:
        """Expected seconds of annotating a unit; one guess for all while nothing is trained."""
        if self.known:
            return cost.seconds(self.slices[unit], round(self.voxels[unit]))
        return cost.seconds(first_slices if parse_unit(unit)[1] is None else 1, 0)


def outlook_of(pool: Pool, evidence: Evidence, axis: int, wanted: bool) -> Outlook:
    """Read the predictions of the unlabeled units once, if they are wanted."""
    units = sorted(pool.unlabeled)
    if not wanted or not units:
        return Outlook()
    masses, slices = [], {}
    for unit in units:
        foreground = np.asarray(evidence.probabilities(unit))[1:]
        by_slice = foreground.sum(axis=tuple(a for a in range(4) if a != axis + 1))
        masses.append(foreground.sum(axis=(1, 2, 3), dtype=np.float64))
        slices[unit] = max(1, int((by_slice >= LEAST).sum()))
    mass = np.stack(masses)
    return Outlook(
        known=True,
        num_classes=mass.shape[1],
        classes=dict(zip(units, _leading(mass), strict=True)),
        slices=slices,
        voxels=dict(zip(units, mass.sum(axis=1).tolist(), strict=True)),
    )


def _leading(mass: Float[np.ndarray, "unit class"]) -> list[int]:
    mean = mass.mean(axis=0)
    share = np.divide(mass, mean, out=np.zeros_like(mass), where=mean > 0)
    found = np.where(mass.sum(axis=1) >= LEAST, share.argmax(axis=1), -1)
    return [int(code) for code in found]


def near(
    z: Float[np.ndarray, "unit dim"], labeled: Float[np.ndarray, "labeled dim2"]
) -> Float[np.ndarray, " unit"]:
    """Largest cosine of each row to a labeled one; -1 without any, or without embeddings."""
    if not z.shape[1] or not len(labeled):
        return np.full(len(z), -1.0, dtype=np.float32)
    nearest: np.ndarray = np.clip(z @ labeled.T, -1, 1).max(axis=1)
    return nearest
