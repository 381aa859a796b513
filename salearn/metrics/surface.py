"""Distances between the surfaces of two masks, in mm.

The surface of a mask is its voxels with at least one of six face neighbours outside the mask; what
lies outside the image is outside the mask. An axis of extent 1 (a 2-D image) has no neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.metrics.nearest import directed
from salearn.metrics.surfel import surfel_distances
from salearn.settings import Field, settings

Spacing = tuple[float, float, float]
Box = tuple[slice, ...]

DISTANCES = ("hd95_mm", "hd95_pooled_mm", "assd_mm", "nsd")
DIRECTED = ("asd_mm", "asd_back_mm")
SURFEL = ("hd95_surfel_mm", "nsd_surfel")
PARITY = ("hd95_voxel", "asd_voxel")
OPTIONAL = (*DIRECTED, *SURFEL, *PARITY)
VOXEL = (1.0, 1.0, 1.0)


@settings
class SurfaceSettings:
    """How surfaces are compared.

    Attributes:
        tolerance_mm: distance up to which a surface voxel counts as right in the NSD.
        empty: distance given when exactly one mask is empty: the image diagonal (means stay
            finite and a missed structure is the worst result), infinity (for rank tests) or NaN.
        directed: also the two directed means: asd_mm from the prediction to the reference (MedPy's
            `asd`, the literature's), asd_back_mm from the reference to the prediction.
        surfel: also hd95_surfel_mm and nsd_surfel, whose surfaces count by area
            (salearn.metrics.surfel).
        parity: also hd95_voxel (pooled) and asd_voxel (prediction to reference), at spacing 1: what
            the tables of UA-MT, SFR and their like print. An empty prediction is not their 0, which
            is the best distance, but what `empty` says, in voxels.
    """

    tolerance_mm: float = Field(default=2.0, ge=0)
    empty: Literal["diag", "inf", "nan"] = "diag"
    directed: bool = False
    surfel: bool = False
    parity: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The scores that are asked for, in the order of a row."""
        asked = {DIRECTED: self.directed, SURFEL: self.surfel, PARITY: self.parity}
        return (*DISTANCES, *(name for names, wanted in asked.items() if wanted for name in names))


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
    framed = np.zeros(tuple(size + 2 for size in mask.shape), dtype=bool)
    core = (slice(1, -1),) * mask.ndim
    framed[core] = mask
    flat = framed.reshape(-1)  # a neighbour is a shift: one pass over bytes that lie together
    inner = flat.copy()
    for axis, step in enumerate(np.array(framed.strides).tolist()):
        if mask.shape[axis] > 1:
            inner[step:] &= flat[:-step]
            inner[:-step] &= flat[step:]
    return np.asarray(mask & ~inner.reshape(framed.shape)[core])


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
        from_prediction=directed(edges[0], edges[1], spacing, forced),
        from_reference=directed(edges[1], edges[0], spacing, forced),
    )


def surface_scores(
    prediction: Bool[np.ndarray, "x y z"],
    reference: Bool[np.ndarray, "x y z"],
    spacing: Spacing,
    diagonal_mm: float,
    how: SurfaceSettings,
    diagonal_voxels: float = float("nan"),
) -> dict[str, float]:
    """`how.columns` of one class, with the policy for empty masks.

    Both empty: all NaN (the case is excluded and counted). One empty: `how.empty`, and NSD 0.

    Args:
        diagonal_mm: length of the diagonal of the whole image.
        diagonal_voxels: the same in voxels; needed for `how.parity`.
    """
    found = bool(prediction.any()), bool(reference.any())
    if all(found):
        return _measured(prediction, reference, spacing, how)
    if not any(found):
        return dict.fromkeys(how.columns, float("nan"))
    fixed = {"inf": float("inf"), "nan": float("nan")}
    far = fixed.get(how.empty, diagonal_mm), fixed.get(how.empty, diagonal_voxels)
    return {name: 0.0 if name.startswith("nsd") else far[name in PARITY] for name in how.columns}


def _measured(
    prediction: np.ndarray, reference: np.ndarray, spacing: Spacing, how: SurfaceSettings
) -> dict[str, float]:
    distances = surface_distances(prediction, reference, spacing)
    scores = {
        "hd95_mm": distances.hausdorff(),
        "hd95_pooled_mm": distances.hausdorff_pooled(),
        "assd_mm": distances.assd,
        "nsd": distances.nsd(how.tolerance_mm),
    }
    if how.directed:
        scores |= zip(DIRECTED, distances.asd, strict=True)
    if how.surfel:
        box = box_of(prediction | reference)
        elements = surfel_distances(prediction[box], reference[box], spacing)
        scores["hd95_surfel_mm"] = elements.hausdorff()
        scores["nsd_surfel"] = elements.nsd(how.tolerance_mm)
    if how.parity:
        unit = tuple(spacing) == VOXEL
        voxels = distances if unit else surface_distances(prediction, reference, VOXEL)
        scores["hd95_voxel"], scores["asd_voxel"] = voxels.hausdorff_pooled(), voxels.asd[0]
    return scores
