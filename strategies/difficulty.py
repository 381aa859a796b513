"""ASD of every unit of a pool: settings, reading of maps, miss-guard (a reconstruction)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.cases import CaseId, UnitId, parse_unit
from salearn.evidence import Evidence, Passes
from salearn.settings import Field, settings
from strategies.maps import checked, mutual_information
from strategies.regions import (
    Measure,
    Reading,
    Region,
    boundary_edges,
    difficulty,
    inherit,
    region_of,
    smallest_area,
    top_mean,
    uncertainty,
    worst_slab,
)
from strategies.scene import has_adapted, rows_of
from strategies.terms import expected_foreground


@settings
class DifficultySettings:
    """How ASD is measured.

    Attributes:
        asd_region: where the map is read: adaptive threshold (otsu), UGTST's histogram peak (peak),
            likeliest class is not background (argmax), everywhere with soft weights (soft).
        asd_measure: uncertainty of a voxel: normalised entropy, 1 - margin, or the mutual
            information of stochastic passes (bald).
        passes: for bald: test-time views, or draws of dropout.
        asd_volume: a volume's value: area-weighted mean of its slices, or its worst slab.
        axis: image axis (0, 1, 2) along which slices are counted.
        slab_share: share of the slices in the worst slab.
        per_class: mean over present classes; None = with more than one foreground class.
        min_pixels, min_share: n_min = max(min_pixels, min_share of a slice's area).
        guard_neighbours, guard_temperature, guard_at, guard_top: miss-guard: an empty region whose
            labeled neighbours show foreground (pi >= guard_at) gets pi * mean of the top share.
        inherit_share, inherit_reach: an empty slice gets this share of the ASD within z +- reach.
    """

    asd_region: Region = "otsu"
    asd_measure: Measure | Literal["bald"] = "entropy"
    passes: Passes = "views"
    asd_volume: Literal["weighted", "max-slab"] = "weighted"
    axis: int = Field(default=2, ge=0, le=2)
    slab_share: float = Field(default=0.1, gt=0, le=1)
    per_class: bool | None = None
    min_pixels: int = Field(default=16, ge=1)
    min_share: float = Field(default=1e-4, ge=0, le=1)
    guard_neighbours: int = Field(default=5, ge=1)
    guard_temperature: float = Field(default=0.07, gt=0)
    guard_at: float = Field(default=0.5, ge=0, le=1)
    guard_top: float = Field(default=0.05, gt=0, le=1)
    inherit_share: float = Field(default=0.5, ge=0, le=1)
    inherit_reach: int = Field(default=2, ge=0)


def read_map(
    probabilities: Float[np.ndarray, "class x y z"],
    options: DifficultySettings,
    doubt: Float[np.ndarray, "x y z"] | None = None,
) -> Reading:
    """ASD of one unit's probabilities; a slice is a volume of one slice.

    The threshold of the region is found in every slice by itself.

    Args:
        doubt: uncertainty of every voxel where it is not a function of the probabilities.
    """
    p = np.moveaxis(np.asarray(probabilities, dtype=np.float32), options.axis + 1, 1)
    measure: Measure = "entropy" if options.asd_measure == "bald" else options.asd_measure
    h = uncertainty(p, measure) if doubt is None else np.moveaxis(doubt, options.axis, 0)
    slices = [_read_slice(p[:, z], h[z], options) for z in range(p.shape[1])]
    asd, area = np.array([r.asd for r in slices]), np.array([r.area for r in slices])
    missed = np.array([r.missed for r in slices])
    asd = inherit(asd, missed, options.inherit_share, options.inherit_reach)
    if options.asd_volume == "max-slab":
        value = worst_slab(asd, options.slab_share)
    else:
        value = float((asd * area).sum() / area.sum()) if area.any() else 0.0
    return Reading(
        asd=0.0 if missed.all() else value,
        area=float(area.sum()),
        boundary=float(sum(r.boundary for r in slices)),
        missed=bool(missed.all()),
        top=top_mean(h, options.guard_top) if missed.all() else 0.0,
    )


def _read_slice(p: np.ndarray, h: np.ndarray, options: DifficultySettings) -> Reading:
    inside = region_of(p, h, options.asd_region)
    # a soft region has no edge: its size is the expected number of foreground pixels
    soft = options.asd_region == "soft"
    area = float((1 - p[0]).sum(dtype=np.float64)) if soft else float(inside.sum())
    n_min = smallest_area(inside.size, options.min_pixels, options.min_share)
    missed = area < n_min
    per_class = len(p) > 2 if options.per_class is None else options.per_class
    asd = 0.0 if missed else difficulty(p, h, inside, n_min, per_class)
    edges = boundary_edges(inside)
    return Reading(asd=asd, area=area, boundary=edges, missed=missed, top=0.0)


def read_units(
    units: Sequence[UnitId], evidence: Evidence, options: DifficultySettings
) -> list[Reading]:
    """One reading per unit; each unit's probabilities are asked once and dropped.

    Raises:
        ValueError: probabilities that are not within 0..1, have no foreground class, or are those
            of a slice and not of extent 1 along `axis`.
        NotTrainedError: nothing is trained.
    """
    return [_read_unit(unit, evidence, options) for unit in units]


def _read_unit(unit: UnitId, evidence: Evidence, options: DifficultySettings) -> Reading:
    p = checked(evidence.probabilities(unit), unit)
    _check_axis(p, unit, options.axis)
    if options.asd_measure != "bald":
        return read_map(p, options)
    return read_map(p, options, mutual_information(evidence.passes(unit, options.passes), unit))


def _check_axis(p: np.ndarray, unit: UnitId, axis: int) -> None:
    if parse_unit(unit)[1] is not None and p.shape[axis + 1] != 1:
        raise ValueError(
            f"{unit} is a slice, but its probabilities have shape {p.shape}: not one slice along "
            f"axis {axis}; is the setting `axis` right?"
        )


def difficulties(
    units: Sequence[UnitId],
    labeled: Sequence[UnitId],
    readings: Sequence[Reading],
    evidence: Evidence,
    options: DifficultySettings,
) -> Float[np.ndarray, " unit"]:
    """ASD of each unit with the miss-guard, then inheritance between slices of one case."""
    asd = np.array([r.asd for r in readings], dtype=np.float64)
    missed = np.array([r.missed for r in readings], dtype=bool)
    if missed.any() and labeled:
        lost = np.flatnonzero(missed).tolist()
        pi = _presence([units[i] for i in lost], labeled, evidence, options)
        top = np.array([readings[i].top for i in lost])
        asd[lost] = np.where(pi >= options.guard_at, pi * top, 0.0)
    return _inherit_slices(units, asd, missed, options)


def _presence(
    units: Sequence[UnitId],
    labeled: Sequence[UnitId],
    evidence: Evidence,
    options: DifficultySettings,
) -> np.ndarray:
    adapted = has_adapted(evidence)
    present: Bool[np.ndarray, " labeled"] = np.array([evidence.foreground(u) for u in labeled])
    return expected_foreground(
        rows_of(evidence, units, adapted),
        rows_of(evidence, labeled, adapted),
        present,
        options.guard_neighbours,
        options.guard_temperature,
    )


def _inherit_slices(
    units: Sequence[UnitId], asd: np.ndarray, missed: np.ndarray, options: DifficultySettings
) -> np.ndarray:
    stacks: dict[CaseId, list[tuple[int, int]]] = {}
    for row, unit in enumerate(units):
        case, z = parse_unit(unit)
        if z is not None:
            stacks.setdefault(case, []).append((z, row))
    out = asd.copy()
    for places in stacks.values():
        z, rows = np.array(places).T
        column = np.full(z.max() + 1, np.nan)
        column[z] = asd[rows]
        empty = np.zeros(len(column), dtype=bool)
        empty[z] = missed[rows]
        out[rows] = inherit(column, empty, options.inherit_share, options.inherit_reach)[z]
    return out
