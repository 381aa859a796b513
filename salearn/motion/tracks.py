"""Tracks: components of neighbouring phases that are one thing in motion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from salearn.motion.components import Components, Spacing, overlaps
from salearn.motion.runs import longest_run

SLACK = 1e-9  # so that a distance of exactly the limit counts


@dataclass(frozen=True, kw_only=True, eq=False)
class Tracks:
    """Which component of which phase belongs to which track.

    Attributes:
        track: of every component, one array for each phase.
        present: phases in which a track has a component.
        volume: mean over those phases of what the track has there, mm^3.
        probability: mean over its voxels, 0..1.
    """

    track: tuple[Int[np.ndarray, " _item"], ...]
    present: Bool[np.ndarray, "phase track"]
    volume: Float[np.ndarray, " track"]
    probability: Float[np.ndarray, " track"]

    def runs(self, cyclic: bool) -> Int[np.ndarray, " track"]:
        """Phases in the longest run of each track."""
        return longest_run(self.present, cyclic)


def find_tracks(
    found: Sequence[Components],
    spacing: Spacing,
    cyclic: bool,
    overlap: float = 0.1,
    distance_mm: float = 5.0,
) -> Tracks:
    """Connected components of the graph of components of neighbouring phases.

    Two components are joined if they share at least `overlap` of the smaller one's voxels, or if
    their centroids are at most `distance_mm` apart.

    Args:
        cyclic: the last phase is a neighbour of the first.

    Source: reference section 8.2, component form (reconstruction).
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    starts = np.cumsum([0, *(len(part.volume) for part in found)])
    last = len(found) if cyclic else len(found) - 1
    edges = [np.zeros((0, 2), np.int64)]
    for here in range(last):
        there = (here + 1) % len(found)
        pairs = _joined(found[here], found[there], spacing, overlap, distance_mm)
        edges.append(pairs + np.array([starts[here], starts[there]]))
    rows, columns = np.concatenate(edges).T
    total = int(starts[-1])
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(total, total))
    number, track = connected_components(graph, directed=False)
    return _measured(found, np.split(track, starts[1:-1]), int(number))


def _joined(
    first: Components, second: Components, spacing: Spacing, overlap: float, distance_mm: float
) -> Int[np.ndarray, "edge 2"]:
    from scipy.spatial import cKDTree

    counts = len(first.volume), len(second.volume)
    if 0 in counts:
        return np.zeros((0, 2), np.int64)
    pairs, shared = overlaps(first.labels, second.labels, counts)
    smaller = np.minimum(first.volume[pairs[:, 0]], second.volume[pairs[:, 1]])
    close = pairs[shared * float(np.prod(spacing)) >= overlap * smaller - SLACK]
    trees = cKDTree(first.centroid), cKDTree(second.centroid)
    near = trees[0].sparse_distance_matrix(trees[1], distance_mm + SLACK, output_type="ndarray")
    return np.concatenate([close, np.stack([near["i"], near["j"]], axis=1)]).astype(np.int64)


def _measured(found: Sequence[Components], track: list[np.ndarray], number: int) -> Tracks:
    volume = np.zeros((len(found), number))
    mass = np.zeros(number)
    for phase, (part, owner) in enumerate(zip(found, track, strict=True)):
        volume[phase] = np.bincount(owner, part.volume, number)
        mass += np.bincount(owner, part.volume * part.probability, number)
    present = volume > 0
    total = volume.sum(axis=0)
    return Tracks(
        track=tuple(track),
        present=present,
        volume=total / np.maximum(present.sum(axis=0), 1),
        probability=mass / np.maximum(total, 1e-12),
    )
