"""Surfaces as small triangles that count by their area, not as voxels that all count the same.

Between eight neighbouring voxels lies a surface element ("surfel"): the triangles that separate
those inside the mask from those outside. Its place is the point where the eight meet, its size the
area of the triangles. A 2-D image (an axis of extent 1) has elements of a contour, with a length.

Source: the definition of DeepMind's surface-distance (Nikolov et al., arXiv 1809.04430). The areas
are computed here: every face of the cell is cut between its inside and outside corners, the cuts
join to loops, and a loop is cut into triangles.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, UInt8

from salearn.metrics.nearest import Lengths, directed

Corner = tuple[int, ...]
Point = tuple[float, ...]
RING = ((0, 0), (1, 0), (1, 1), (0, 1))  # the corners of a face, counter-clockwise
SLACK = 1e-12  # a share reached but for the rounding of a long sum is reached


@dataclass(frozen=True, kw_only=True)
class SurfelDistances:
    """Distance of every surface element of one mask to the nearest of the other, and its size.

    Attributes:
        from_prediction: mm, one for each element of the prediction.
        from_reference: mm, one for each element of the reference.
        prediction_sizes: mm2 (mm in a 2-D image) of the elements of the prediction.
        reference_sizes: the same of the reference.
    """

    from_prediction: Float[np.ndarray, " p"]
    from_reference: Float[np.ndarray, " r"]
    prediction_sizes: Float[np.ndarray, " p"]
    reference_sizes: Float[np.ndarray, " r"]

    def hausdorff(self, percentile: float = 95.0) -> float:
        """mm within which that share of the surface lies, in the worse of the two directions."""
        return max(
            weighted_percentile(self.from_prediction, self.prediction_sizes, percentile),
            weighted_percentile(self.from_reference, self.reference_sizes, percentile),
        )

    def nsd(self, tolerance_mm: float) -> float:
        """Share of both surfaces within the tolerance of the other one, 0..1."""
        near = self.prediction_sizes[self.from_prediction <= tolerance_mm].sum()
        near += self.reference_sizes[self.from_reference <= tolerance_mm].sum()
        return float(near / (self.prediction_sizes.sum() + self.reference_sizes.sum()))


def weighted_percentile(
    values: Float[np.ndarray, " n"], weights: Float[np.ndarray, " n"], percentile: float
) -> float:
    """The smallest value such that it and the smaller ones hold that share of the weight."""
    order = np.argsort(values)
    held = np.cumsum(weights[order])
    place = int(np.searchsorted(held, percentile / 100 * held[-1] * (1 - SLACK)))
    return float(values[order[place]])


def surfel_distances(
    prediction: Bool[np.ndarray, "x y z"], reference: Bool[np.ndarray, "x y z"], spacing: Lengths
) -> SurfelDistances:
    """Distances between the elements of two surfaces, both directions.

    Args:
        prediction: cropped to the box of both masks where time matters; outside is outside.
        spacing: mm per voxel along x, y, z.

    Raises:
        ValueError: a mask is empty, so it has no surface.
    """
    flat = tuple(axis for axis, size in enumerate(prediction.shape) if size == 1)[:1]
    steps = tuple(step for axis, step in enumerate(spacing) if axis not in flat)
    codes = [cell_codes(mask.squeeze(flat)) for mask in (prediction, reference)]
    edges = [(code != 0) & (code != 2 ** (2**code.ndim) - 1) for code in codes]
    if not all(edge.any() for edge in edges):
        raise ValueError("surface distances need two masks that are not empty")
    sizes = element_sizes(steps)
    return SurfelDistances(
        from_prediction=directed(edges[0], edges[1], steps),
        from_reference=directed(edges[1], edges[0], steps),
        prediction_sizes=sizes[codes[0][edges[0]]],
        reference_sizes=sizes[codes[1][edges[1]]],
    )


def cell_codes(mask: Bool[np.ndarray, "*grid"]) -> UInt8[np.ndarray, "*points"]:
    """For every point between voxels, which of its 8 (in 2-D 4) neighbours are in the mask.

    One point more than voxels along each axis; bit n is the n-th corner of `_corners`.
    """
    padded = np.pad(mask, 1)
    codes = np.zeros([size + 1 for size in mask.shape], dtype=np.uint8)
    for bit, corner in enumerate(_corners(mask.ndim)):
        part = tuple(slice(at, at + size) for at, size in zip(corner, codes.shape, strict=True))
        codes |= padded[part].astype(np.uint8) << np.uint8(bit)
    return codes


def element_sizes(spacing: Lengths) -> Float[np.ndarray, " codes"]:
    """The area in mm2 (in 2-D the length in mm) of the element of every code.

    Args:
        spacing: mm per step along the two or three axes.
    """
    if len(spacing) == 2:
        codes, parts = _lines()
        scale = np.asarray(spacing)
    else:
        codes, parts = _normals()
        scale = np.prod(spacing) / np.asarray(spacing)  # a normal along x: an area in y and z
    weights = np.linalg.norm(parts * scale, axis=1)
    return np.asarray(np.bincount(codes, weights, minlength=2 ** (2 ** len(spacing))))


def _corners(ndim: int) -> list[Corner]:
    return list(product((0, 1), repeat=ndim))


@cache
def _lines() -> tuple[np.ndarray, np.ndarray]:
    """The pieces of contour of the 16 codes of a square: their codes and vectors."""
    found = [
        (code, np.subtract(end, start))
        for code in range(16)
        for start, end in _cuts(list(RING), _inside(code, 2))
    ]
    return _stack(found)


@cache
def _normals() -> tuple[np.ndarray, np.ndarray]:
    """The triangles of the 256 codes of a cube: their codes and normals, whose length is the area.

    A code and its complement have the same surface: that of the side with fewer corners, which are
    kept apart where a face could be cut in two ways.
    """
    found = []
    for code in range(256):
        inside = _inside(code if code.bit_count() <= 4 else 255 - code, 3)
        for loop in _loops(inside):
            found += [(code, normal) for normal in _triangles(loop)]
    return _stack(found)


def _stack(found: Sequence[tuple[int, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([code for code, _ in found]), np.array([part for _, part in found])


def _inside(code: int, ndim: int) -> set[Corner]:
    return {corner for bit, corner in enumerate(_corners(ndim)) if code >> bit & 1}


def _cuts(ring: Sequence[Corner], inside: set[Corner]) -> list[tuple[Point, Point]]:
    """What cuts the inside corners of a face off: from the middle of an edge to that of another.

    Along the ring every row of inside corners is cut off from where it begins to where it ends.
    """
    found = []
    for begin in range(4):
        if ring[begin] in inside and ring[begin - 1] not in inside:
            end = begin
            while ring[(end + 1) % 4] in inside:
                end += 1
            found.append(
                (_middle(ring[begin - 1], ring[begin]), _middle(ring[end % 4], ring[(end + 1) % 4]))
            )
    return found


def _middle(a: Corner, b: Corner) -> Point:
    return tuple((one + other) / 2 for one, other in zip(a, b, strict=True))


def _loops(inside: set[Corner]) -> list[list[Point]]:
    """The cuts of the six faces, joined.

    Two faces walk along their common edge in opposite directions, so where the cut of one begins
    that of the other ends: the cuts are a permutation of points, and the loops are its cycles.
    """
    follows: dict[Point, Point] = {}
    for axis, side in product(range(3), (0, 1)):
        ring = [tuple(np.roll((side, *at), axis).tolist()) for at in RING]
        follows |= dict(_cuts(ring if side else ring[::-1], inside))
    loops = []
    while follows:
        first, following = follows.popitem()
        loop = [first]
        while following != first:
            loop.append(following)
            following = follows.pop(following)
        loops.append(loop)
    return loops


def _triangles(loop: Sequence[Point]) -> list[np.ndarray]:
    """Normals of the triangles of a loop; one that is not flat is cut to the largest area.

    The area is taken at equal spacing, so the triangles are the same for every image. This choice
    gives all 256 areas of the source at every spacing.
    """
    if len(loop) < 3:
        return []
    options = []
    for middle in range(1, len(loop) - 1):
        sides = np.subtract(loop[middle], loop[0]), np.subtract(loop[-1], loop[0])
        rest = _triangles(loop[: middle + 1]), _triangles(loop[middle:])
        options.append([np.cross(*sides) / 2, *rest[0], *rest[1]])
    return max(options, key=lambda normals: round(float(np.linalg.norm(normals, axis=1).sum()), 9))
