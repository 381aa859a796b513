"""Distances between the surfaces of two masks, in mm.

The surface of a mask is its voxels with at least one of six face neighbours outside the mask; what
lies outside the image is outside the mask. An axis of extent 1 (a 2-D image) has no neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.settings import Field, settings

Spacing = tuple[float, float, float]
Box = tuple[slice, ...]

# What one step costs in CPU-microseconds, measured on ordinary, noisy, full and distant masks; only
# the ratios matter. They choose between two ways to the same distances, so no clock is asked and
# the choice, and with it the last bit of every result, is the same on a busy machine.
TRANSFORM_US = 0.13  # a voxel of the box, in a distance transform
BUILD_US = 0.17  # a border voxel put into a tree
SEARCH_US = 1.0  # a border voxel searched next to its answer
REACH_US = 0.007  # a border voxel of the other mask that a search passes by
FEW = 5000  # border voxels of both masks for which a tree is always quick
SAMPLE, SPARSE = 128, 64  # so many searches, at most one in 64, tell what all of them will cost


@settings
class SurfaceSettings:
    """How surfaces are compared.

    Attributes:
        tolerance_mm: distance up to which a surface voxel counts as right in the NSD.
        empty: distance given when exactly one mask is empty: the image diagonal (means stay
            finite and a missed structure is the worst result), infinity (for rank tests) or NaN.
    """

    tolerance_mm: float = Field(default=2.0, ge=0)
    empty: Literal["diag", "inf", "nan"] = "diag"


@dataclass(frozen=True, kw_only=True)
class SurfaceDistances:
    """Distance in mm from every surface voxel of one mask to the nearest one of the other.

    Attributes:
        from_prediction: one for each surface voxel of the prediction, to the reference.
        from_reference: one for each surface voxel of the reference, to the prediction.
    """

    from_prediction: Float[np.ndarray, " p"]
    from_reference: Float[np.ndarray, " r"]

    @cached_property
    def pooled(self) -> Float[np.ndarray, " n"]:
        """Both directions together."""
        return np.concatenate([self.from_prediction, self.from_reference])

    def hausdorff(self, percentile: float = 95.0) -> float:
        """The larger of the two directed percentiles (MONAI's definition); 100 = Hausdorff."""
        sides = (self.from_prediction, self.from_reference)
        return float(max(np.percentile(side, percentile) for side in sides))

    def hausdorff_pooled(self, percentile: float = 95.0) -> float:
        """The percentile of both directions together (MedPy's definition, the literature's)."""
        return float(np.percentile(self.pooled, percentile))

    @property
    def assd(self) -> float:
        """Mean over both directions together (pooled average symmetric surface distance)."""
        return float(self.pooled.mean())

    @property
    def asd(self) -> tuple[float, float]:
        """Directed means: prediction to reference (what MedPy's `asd` prints), and back."""
        return float(self.from_prediction.mean()), float(self.from_reference.mean())

    def nsd(self, tolerance_mm: float) -> float:
        """Share of all surface voxels within the tolerance of the other surface, 0..1."""
        return float((self.pooled <= tolerance_mm).mean())


def border(mask: Bool[np.ndarray, "x y z"]) -> Bool[np.ndarray, "x y z"]:
    """The surface voxels of a mask."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        if mask.shape[axis] <= 1:
            continue
        ahead, here = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        ahead[1:] &= here[:-1]
        ahead[:-1] &= here[1:]
        ahead[0] = ahead[-1] = False
    return np.asarray(mask & ~inner)


def box_of(present: np.ndarray, margin: int = 1) -> Box:
    """The smallest box around all voxels that are not 0, plus a margin where the image has room.

    With the margin of 1 an axis of extent 1 stays the mark of a 2-D image. All slices are empty
    when nothing is there.
    """
    box = []
    for axis, size in enumerate(present.shape):
        others = tuple(a for a in range(present.ndim) if a != axis)
        found = np.flatnonzero(present.any(axis=others))
        if not len(found):
            return tuple(slice(0, 0) for _ in present.shape)
        box.append(slice(max(int(found[0]) - margin, 0), min(int(found[-1]) + 1 + margin, size)))
    return tuple(box)


def surface_distances(
    prediction: Bool[np.ndarray, "x y z"],
    reference: Bool[np.ndarray, "x y z"],
    spacing: Spacing,
    tree_limit: int | None = None,
) -> SurfaceDistances:
    """Both directed sets of distances, computed inside the union box.

    Each direction takes what is cheaper for it: a k-d tree of border voxels (time grows with the
    border and with how far it has to search) or a distance transform (with the box).

    Args:
        spacing: mm per voxel along x, y, z.
        tree_limit: border voxels of both masks up to which a tree is used whatever it costs, and a
            transform beyond; None for the cheaper one.

    Raises:
        ValueError: a mask is empty, so there is no distance.
    """
    box = box_of(prediction | reference)
    edges = border(prediction[box]), border(reference[box])
    sizes = [int(np.count_nonzero(edge)) for edge in edges]
    if 0 in sizes:
        raise ValueError("surface distances need two masks that are not empty")
    forced = None if tree_limit is None else sum(sizes) <= tree_limit
    return SurfaceDistances(
        from_prediction=_directed(edges[0], edges[1], spacing, forced),
        from_reference=_directed(edges[1], edges[0], spacing, forced),
    )


def _directed(
    start: np.ndarray, goal: np.ndarray, spacing: Spacing, by_tree: bool | None
) -> np.ndarray:
    """Distances from the border `start` to the border `goal`; `by_tree` None: the cheaper way."""
    distances = np.zeros(np.count_nonzero(start))
    apart = ~goal[start]  # voxels on both surfaces are at distance 0 and need no search
    from_, to = np.argwhere(start)[apart], np.argwhere(goal)
    if not len(from_):
        return distances
    allowed = TRANSFORM_US * goal.size
    near = BUILD_US * len(to) + SEARCH_US * len(from_) <= allowed
    if by_tree or (by_tree is None and near):  # not even a tree is built where it cannot pay
        from scipy.spatial import cKDTree

        points = from_ * np.asarray(spacing)
        tree = cKDTree(to * spacing, balanced_tree=False, compact_nodes=False)
        sure = by_tree or len(from_) + len(to) <= FEW
        if sure or _search_us(tree, points, spacing) <= allowed:
            distances[apart] = tree.query(points)[0]
            return distances
    distances[apart] = _by_transform(from_, goal, spacing)
    return distances


def _search_us(tree: Any, points: np.ndarray, spacing: Spacing) -> float:
    """What searching all points will cost, from how many voxels a sample of them passes by.

    A search opens every leaf of the tree that comes closer than its answer: all within the answer
    plus the size of a leaf. Inside the box of the tree (a mask around the other one) the leaves
    are long and reach towards the middle, so more of them are opened.
    """
    sample = points[:: max(len(points) // SAMPLE, SPARSE)]
    answers = tree.query(sample)[0]
    inside = ((sample > tree.mins) & (sample < tree.maxes)).all(axis=1)
    reach = answers * np.where(inside, 1.5, 1.0) + 3 * np.linalg.norm(spacing)
    passed = tree.query_ball_point(sample, reach, return_length=True)
    return float(len(points) * (SEARCH_US + REACH_US * passed.mean()))


def _by_transform(points: np.ndarray, goal: np.ndarray, spacing: Spacing) -> np.ndarray:
    """Distances from voxels to their nearest goal; only theirs are computed, not a whole map."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(
        ~goal, sampling=spacing, return_distances=False, return_indices=True
    )
    found = np.asarray(nearest)[(slice(None), *points.T)].T
    return np.asarray(np.linalg.norm((points - found) * spacing, axis=1))


def surface_scores(
    prediction: Bool[np.ndarray, "x y z"],
    reference: Bool[np.ndarray, "x y z"],
    spacing: Spacing,
    diagonal_mm: float,
    how: SurfaceSettings,
) -> dict[str, float]:
    """hd95_mm, hd95_pooled_mm, assd_mm and nsd of one class, with the policy for empty masks.

    Both empty: all NaN (the case is excluded and counted). One empty: `how.empty`, and NSD 0.

    Args:
        diagonal_mm: length of the diagonal of the whole image.
    """
    found = bool(prediction.any()), bool(reference.any())
    if all(found):
        distances = surface_distances(prediction, reference, spacing)
        return {
            "hd95_mm": distances.hausdorff(),
            "hd95_pooled_mm": distances.hausdorff_pooled(),
            "assd_mm": distances.assd,
            "nsd": distances.nsd(how.tolerance_mm),
        }
    given = {"diag": diagonal_mm, "inf": float("inf"), "nan": float("nan")}[how.empty]
    far = given if any(found) else float("nan")
    agreed = 0.0 if any(found) else float("nan")
    return {"hd95_mm": far, "hd95_pooled_mm": far, "assd_mm": far, "nsd": agreed}
