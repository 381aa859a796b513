"""How far every point of one set is from the nearest of another, by the cheaper of two ways."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

# What one step costs in CPU-microseconds, measured on ordinary, noisy, full and distant masks; only
# the ratios matter. They choose between two ways to the same distances, so no clock is asked and
# the choice, and with it the last bit of every result, is the same on a busy machine.
TRANSFORM_US = 0.13  # a voxel of the box, in a distance transform
BUILD_US = 0.17  # a border voxel put into a tree
SEARCH_US = 1.0  # a border voxel searched next to its answer
REACH_US = 0.007  # a border voxel of the other mask that a search passes by
FEW = 5000  # border voxels of both masks for which a tree is always quick
SAMPLE, SPARSE = 128, 64  # so many searches, at most one in 64, tell what all of them will cost

Lengths = tuple[float, ...]


def directed(
    start: Bool[np.ndarray, "*grid"],
    goal: Bool[np.ndarray, "*grid"],
    spacing: Lengths,
    by_tree: bool | None = None,
) -> Float[np.ndarray, " n"]:
    """Distances in mm from every point of `start` to the nearest of `goal`, in C order.

    A k-d tree takes time with the points and with how far it has to search, a distance transform
    with the box.

    Args:
        spacing: mm per step along each axis.
        by_tree: True for a tree, False for a transform whatever it costs; None: the cheaper way.
    """
    distances = np.zeros(np.count_nonzero(start))
    apart = ~goal[start]  # points in both sets are at distance 0 and need no search
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
            found = _beside(from_, goal, spacing)
            far = np.isinf(found)
            found[far] = tree.query(points[far])[0]
            distances[apart] = found
            return distances
    distances[apart] = _by_transform(from_, goal, spacing)
    return distances


def _beside(points: np.ndarray, goal: np.ndarray, spacing: Lengths) -> np.ndarray:
    """Distance to a goal one shortest step away, infinity where there is none.

    No goal can be nearer to a point that is none itself, and looking costs a tenth of a search.
    The numbers are those of the tree, to the last bit.
    """
    framed = np.zeros(tuple(size + 2 for size in goal.shape), dtype=bool)
    framed[(slice(1, -1),) * goal.ndim] = goal
    flat, strides = framed.reshape(-1), framed.strides
    place = (points + 1) @ np.asarray(strides)
    found = np.full(len(points), np.inf)
    for axis, length in enumerate(spacing):
        if length > min(spacing):
            continue
        along = points[:, axis]
        for step in (-1, 1):
            hit = flat[place + step * strides[axis]]
            gap = np.abs((along + step) * length - along * length)
            np.minimum(found, gap, out=found, where=hit)
    return found


def _search_us(tree: Any, points: np.ndarray, spacing: Lengths) -> float:
    """What searching all points will cost, from how many points a sample of them passes by.

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


def _by_transform(points: np.ndarray, goal: np.ndarray, spacing: Lengths) -> np.ndarray:
    """Distances from points to their nearest goal; only theirs are computed, not a whole map."""
    from scipy.ndimage import distance_transform_edt

    nearest = distance_transform_edt(
        ~goal, sampling=spacing, return_distances=False, return_indices=True
    )
    found = np.asarray(nearest)[(slice(None), *points.T)].T
    return np.asarray(np.linalg.norm((points - found) * spacing, axis=1))
