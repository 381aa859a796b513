"""Connected components of a mask, and which of them are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int, Int32

from salearn.metrics.surface import box_of
from salearn.settings import Field, settings

Spacing = tuple[float, float, float]
Connectivity = Literal[6, 18, 26]
RANK = {6: 1, 18: 2, 26: 3}  # of scipy's structuring elements


@settings
class ComponentRule:
    """Which components of a class are believed. There is no rule that fits all classes.

    Attributes:
        keep: how many of the highest score (volume x mean probability), or "all"; 1 for a heart,
            2 for lungs, "all" for tumours and metastases.
        min_volume_mm3: smaller ones are dropped; 0 for small lesions.
        min_probability: mean over the component, 0..1.

    Source: reference section 8.3.
    """

    keep: int | Literal["all"]
    min_volume_mm3: float = Field(default=100.0, ge=0)
    min_probability: float = Field(default=0.5, ge=0, le=1)

    def __post_init__(self) -> None:
        if self.keep != "all" and self.keep < 1:
            raise ValueError(f"keep: give a number from 1 or 'all', not {self.keep}")

    def accepts(
        self, volume: Float[np.ndarray, " item"], probability: Float[np.ndarray, " item"]
    ) -> Bool[np.ndarray, " item"]:
        """Which items pass; of equal scores the earlier one is kept.

        Args:
            volume: mm^3. probability: mean, 0..1.
        """
        good = (volume >= self.min_volume_mm3) & (probability >= self.min_probability)
        if self.keep != "all":
            score = np.where(good, volume * probability, -1.0)
            good &= np.isin(np.arange(len(score)), np.argsort(-score, kind="stable")[: self.keep])
        return good


@dataclass(frozen=True, kw_only=True, eq=False)
class Components:
    """The components of one mask: label i + 1 is item i.

    Attributes:
        labels: 0 outside. volume: mm^3. probability: mean, 0..1 (1 if none was given).
        centroid: mm along x, y, z from the centre of the first voxel.
    """

    labels: Int32[np.ndarray, "x y z"]
    volume: Float[np.ndarray, " item"]
    probability: Float[np.ndarray, " item"]
    centroid: Float[np.ndarray, "item 3"]

    def of(self, wanted: Bool[np.ndarray, " item"]) -> Bool[np.ndarray, "x y z"]:
        """The mask of the wanted items."""
        chosen: np.ndarray = np.concatenate([[False], wanted])[self.labels]
        return chosen


def label_components(
    mask: Bool[np.ndarray, "x y z"], connectivity: Connectivity = 26
) -> tuple[Int32[np.ndarray, "x y z"], int]:
    """Labels 1..count of voxels that hang together by faces (6), edges (18) or corners (26)."""
    from scipy import ndimage

    labels = np.zeros(mask.shape, np.int32)
    box = box_of(mask, margin=0)
    structure = ndimage.generate_binary_structure(3, RANK[connectivity])
    count = ndimage.label(mask[box], structure, output=labels[box])
    return labels, int(count)


def components(
    mask: Bool[np.ndarray, "x y z"],
    probability: Float[np.ndarray, "x y z"] | None,
    spacing: Spacing,
    connectivity: Connectivity = 26,
) -> Components:
    """The components of a mask, measured.

    Args:
        spacing: mm per voxel along x, y, z.
    """
    labels, count = label_components(mask, connectivity)
    where = np.flatnonzero(labels)
    item = labels.ravel()[where] - 1
    voxels = np.bincount(item, minlength=count)
    weights = None if probability is None else probability.ravel()[where].astype(np.float64)
    total = voxels if weights is None else np.bincount(item, weights, count)
    places = np.unravel_index(where, labels.shape)
    sums = [np.bincount(item, place, count) for place in places]
    return Components(
        labels=labels,
        volume=voxels * float(np.prod(spacing)),
        probability=total / np.maximum(voxels, 1).astype(np.float64),
        centroid=np.stack(sums, axis=1) / np.maximum(voxels, 1)[:, None] * np.array(spacing),
    )


def connected(
    mask: Bool[np.ndarray, "x y z"],
    probability: Float[np.ndarray, "x y z"] | None,
    rule: ComponentRule,
    spacing: Spacing,
    connectivity: Connectivity = 26,
) -> Bool[np.ndarray, "x y z"]:
    """The part of a mask that its class rule accepts.

    Source: reference section 8.3.
    """
    found = components(mask, probability, spacing, connectivity)
    return found.of(rule.accepts(found.volume, found.probability))


def fill_holes(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The mask with its holes: background that does not reach the border by faces (6)."""
    from scipy import ndimage

    filled = mask.copy()
    box = box_of(mask, margin=0)
    filled[box] = ndimage.binary_fill_holes(mask[box])
    return filled


def overlaps(
    first: Int[np.ndarray, "x y z"], second: Int[np.ndarray, "x y z"], counts: tuple[int, int]
) -> tuple[Int[np.ndarray, "pair 2"], Int[np.ndarray, " pair"]]:
    """Items (from 0) of two label images that share voxels, and how many."""
    both = np.flatnonzero((first > 0) & (second > 0))
    codes = (first.ravel()[both].astype(np.int64) - 1) * counts[1] + second.ravel()[both] - 1
    found, shared = np.unique(codes, return_counts=True)
    return np.stack(np.divmod(found, max(counts[1], 1)), axis=1), shared
