"""Guards of hard negative mining: what must not be mined, and when to mine less."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from salearn.cases import IGNORE
from salearn.motion.components import Components, components
from salearn.motion.tracks import find_tracks
from salearn.settings import Field, settings

Spacing = tuple[float, float, float]


@settings
class GuardSettings:
    """When a false positive is no hard negative.

    Attributes:
        recall_drop: drop of the recall of positives (share of their voxels) that halves the ratio
            of negatives; 0.01 = one point.
        threshold: of the probability, above which a voxel outside the mask is a false positive.
        shell_mm: components that lie within this distance of the mask are a matter of the border.
        recurring: share of phases, or of neighbouring slices, from which on a component is
            taken for a label that is missing, and goes to the review queue.
        neighbours: slices in a row among which that share is counted.
        phases: annotated phases of a patient that it takes to count phases.

    Source: adaptation notes 8.1, guards (a reconstruction; neighbours and phases are ours).
    """

    recall_drop: float = Field(default=0.01, gt=0)
    threshold: float = Field(default=0.5, gt=0, lt=1)
    shell_mm: float = Field(default=2.0, ge=0)
    recurring: float = Field(default=0.8, gt=0, le=1)
    neighbours: int = Field(default=10, ge=2)
    phases: int = Field(default=5, ge=2)


@dataclass
class RecallGuard:
    """Halves the ratio of negatives whenever the recall of positives has dropped too far.

    Attributes:
        drop: mean over volumes, beyond which a drop counts.
        best: highest recall of each volume since the ratio was last halved.
        factor: what the ratio of negatives to positives is multiplied by.
    """

    drop: float
    best: dict[int, float] = field(default_factory=dict)
    factor: float = 1.0

    def look(self, recalls: Mapping[int, float]) -> None:
        """Take note of the recall (0..1) of some volumes; NaN (nothing to find) says nothing.

        A volume that is seen for the first time has no drop.
        """
        known = {index: value for index, value in recalls.items() if not np.isnan(value)}
        drops = [self.best[index] - known[index] for index in known if index in self.best]
        if drops and float(np.mean(drops)) > self.drop + 1e-12:
            self.factor /= 2
            self.best = known  # the next drop is measured from here
        else:
            self.best |= {i: max(value, self.best.get(i, value)) for i, value in known.items()}


def recall_of(
    probabilities: Float[np.ndarray, "class x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    threshold: float,
) -> float:
    """Share of the voxels of all structures that their class finds; NaN where there is none."""
    found = total = 0
    for label, p in enumerate(probabilities, start=1):
        inside = mask == label
        total += int(inside.sum())
        found += int((p[inside] > threshold).sum())
    return found / total if total else float("nan")


@dataclass(frozen=True, kw_only=True, eq=False)
class FalsePositives:
    """Components of one class of one volume that the model sees and the mask does not have.

    Attributes:
        found: in 3-D, 26-connected.
        shell: which lie within the shell around the mask.
        slices: which recur in neighbouring slices.
    """

    found: Components
    shell: Bool[np.ndarray, " item"]
    slices: Bool[np.ndarray, " item"]

    @property
    def count(self) -> int:
        """How many components."""
        return len(self.found.volume)


def false_positives(
    p: Float[np.ndarray, "x y z"],
    mask: UInt8[np.ndarray, "x y z"],
    label: int,
    spacing: Spacing,
    axis: int,
    given: GuardSettings,
) -> FalsePositives:
    """False positive components of a class, and what is known of each.

    Args:
        axis: along which the volume is sliced.
    """
    inside = mask == label
    wrong = (p > given.threshold) & ~inside & (mask != IGNORE)
    found = components(wrong, p, spacing)
    return FalsePositives(
        found=found,
        shell=_within(found, inside, spacing, given.shell_mm),
        slices=_recurring(found, axis, given),
    )


def _within(found: Components, inside: np.ndarray, spacing: Spacing, shell_mm: float) -> np.ndarray:
    """Components no voxel of which is farther from the structure than the shell is thick."""
    from scipy import ndimage

    count = len(found.volume)
    if not count or not inside.any():
        return np.zeros(count, bool)
    distance = ndimage.distance_transform_edt(~inside, sampling=spacing)
    farthest = ndimage.maximum(distance, found.labels, np.arange(1, count + 1))
    near: np.ndarray = np.asarray(farthest) <= shell_mm + 1e-9
    return near


def _recurring(found: Components, axis: int, given: GuardSettings) -> np.ndarray:
    """Components that are in enough of some `neighbours` slices running."""
    depth = found.labels.shape[axis]
    if depth < given.neighbours:
        return np.zeros(len(found.volume), bool)
    slices = np.moveaxis(found.labels, axis, 0)
    there = np.zeros((len(found.volume) + 1, depth), bool)
    for index in range(depth):
        there[np.unique(slices[index]), index] = True
    counts = np.cumsum(np.pad(there[1:], ((0, 0), (1, 0))), axis=1)
    inside = counts[:, given.neighbours :] - counts[:, : -given.neighbours]
    often: np.ndarray = inside.max(axis=1) >= given.recurring * given.neighbours - 1e-9
    return often


def recurring_in_phases(
    phases: Sequence[FalsePositives], spacing: Spacing, given: GuardSettings
) -> list[Bool[np.ndarray, " item"]] | None:
    """Components that recur in enough of the annotated phases of a patient, phase by phase.

    A component of one phase is that of another if a track (salearn.motion.tracks) joins them.

    Returns:
        None where there are too few phases to say.
    """
    if len(phases) < given.phases:
        return None
    tracks = find_tracks([part.found for part in phases], spacing, cyclic=False)
    often = tracks.present.mean(axis=0) >= given.recurring - 1e-9
    return [often[owner] for owner in tracks.track]


def review_rows(
    case: str, label: int, parts: FalsePositives, review: Bool[np.ndarray, " item"], by: str
) -> list[dict[str, Any]]:
    """Lines of the review queue, largest component first: where somebody should look.

    Args:
        by: what it recurs in, "phases" or "slices".
    """
    rows = [
        {
            "case": case,
            "class": label,
            "volume_ml": round(float(parts.found.volume[item]) / 1000, 4),
            "mean_probability": round(float(parts.found.probability[item]), 4),
            "centre_mm": [round(float(v), 1) for v in parts.found.centroid[item]],
            "recurs_in": by,
        }
        for item in np.flatnonzero(review)
    ]
    return sorted(rows, key=lambda row: -float(str(row["volume_ml"])))


@dataclass
class Review:
    """What the guards have found at the last look, by volume.

    Attributes:
        excluded: voxels that are not mined. rows: lines of the review queue.
    """

    excluded: dict[int, Bool[np.ndarray, "class x y z"]] = field(default_factory=dict)
    rows: dict[int, list[dict[str, Any]]] = field(default_factory=dict)


def judge(
    found: Mapping[int, Sequence[FalsePositives]],
    names: Sequence[str],
    groups: Sequence[str],
    spacings: Mapping[int, Spacing],
    given: GuardSettings,
) -> Review:
    """Which components of the volumes that were looked at are not mined, and why.

    Args:
        found: false positives of each volume, class by class.
        names, groups: case and patient of every volume; volumes of one patient are its phases.
    """
    review = Review()
    patients: dict[str, list[int]] = {}
    for index in sorted(found):
        patients.setdefault(groups[index], []).append(index)
        review.rows[index] = []
    for members in patients.values():
        masks: dict[int, list[np.ndarray]] = {index: [] for index in members}
        for number in range(len(found[members[0]])):
            parts = [found[index][number] for index in members]
            phases = recurring_in_phases(parts, spacings[members[0]], given)
            for place, index in enumerate(members):
                often = parts[place].slices if phases is None else phases[place]
                by = "slices" if phases is None else "phases"
                rows = review_rows(names[index], number + 1, parts[place], often, by)
                review.rows[index] += rows
                masks[index].append(parts[place].found.of(often | parts[place].shell))
        review.excluded |= {index: np.stack(made) for index, made in masks.items()}
    return review
