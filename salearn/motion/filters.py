"""Filters over the phases of a 4-D scan: what is there in several phases running is believed."""

from __future__ import annotations

from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.errors import ConfigError
from salearn.motion.components import ComponentRule, Components, Connectivity, Spacing, components
from salearn.motion.runs import fill_gaps, keep_runs
from salearn.motion.tracks import find_tracks
from salearn.settings import Field, settings

FilterName = Literal["none", "voxel", "component", "component+connectivity", "soft"]
FILTERS: dict[FilterName, str] = {
    "none": "every phase by itself: probability above the threshold",
    "voxel": "a voxel needs a run of phases (erodes the extremes of motion)",
    "component": "a track of components needs a run of phases and keeps all its voxels",
    "component+connectivity": "the same, and a track must pass the rule of its class",
    "soft": "probabilities averaged over neighbouring phases (1 2 1) before the threshold",
}


@settings
class FilterSettings:
    """How the phases of one structure are filtered.

    Attributes:
        name: one of FILTERS.
        threshold: a voxel is on where its probability is above, 0..1.
        run: phases that something must be there without a break.
        gap: phases of absence that the voxel form fills first; above 0 it invents structure on
            alternating flicker.
        overlap: share of the smaller component that joins two of neighbouring phases.
        distance_mm: of centroids, joins them as well.
        connectivity: 6, 18 or 26 neighbours.

    Source: reference section 8.2; component and soft form are reconstructions.
    """

    name: FilterName = "component+connectivity"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    run: int = Field(default=3, ge=1)
    gap: int = Field(default=0, ge=0)
    overlap: float = Field(default=0.1, gt=0, le=1)
    distance_mm: float = Field(default=5.0, ge=0)
    connectivity: Connectivity = 26


def apply_filter(
    probabilities: Float[np.ndarray, "phase x y z"],
    spacing: Spacing,
    how: FilterSettings,
    cyclic: bool,
    rule: ComponentRule | None = None,
) -> Bool[np.ndarray, "phase x y z"]:
    """The voxels of one structure that are believed, phase by phase.

    Args:
        probabilities: 0..1, phases in order, all on one grid.
        spacing: mm per voxel along x, y, z.
        cyclic: phase-binned data; False for amplitude bins, whose ends are no neighbours.
        rule: of the structure's class; needed by "component+connectivity".

    Raises:
        ValueError: probabilities that are not finite, or fewer than two phases.
        ConfigError: more phases in a row are asked for than there are, or a rule is missing.
    """
    _check(probabilities, how, rule)
    if how.name == "soft":
        return _smoothed(probabilities, cyclic) > how.threshold
    on: np.ndarray = probabilities > how.threshold
    if how.name == "voxel":
        return keep_runs(fill_gaps(on, how.gap, cyclic), how.run, cyclic)
    if how.name == "none":
        return on
    strict = rule if how.name == "component+connectivity" else None
    return _by_track(on, probabilities, spacing, how, cyclic, strict)


def _check(probabilities: np.ndarray, how: FilterSettings, rule: ComponentRule | None) -> None:
    phases = len(probabilities)
    if phases < 2:
        raise ValueError(f"a filter over phases needs at least 2 of them, got {phases}")
    if not np.isfinite(probabilities).all():
        raise ValueError("a filter over phases needs finite probabilities; the model has diverged")
    longest = {"voxel": max(how.run, how.gap + 1), "none": 1, "soft": 1}.get(how.name, how.run)
    if longest > phases:
        raise ConfigError(
            f"filter: run={how.run} (gap={how.gap}) asks for more phases in a row than the "
            f"{phases} of the scan; lower it"
        )
    if how.name == "component+connectivity" and rule is None:
        raise ConfigError(
            "filter 'component+connectivity' needs a rule for every class (keep: 1 for a heart, 2 "
            "for lungs, all for tumours): set structures.<class>.rule"
        )


def _smoothed(p: np.ndarray, cyclic: bool) -> np.ndarray:
    """(previous + 2 x this + next) / 4; on a line the first and last phase repeat."""
    first, last = (p[-1:], p[:1]) if cyclic else (p[:1], p[-1:])
    wide = np.concatenate([first, p, last]).astype(np.float32, copy=False)
    made: np.ndarray = (wide[:-2] + 2 * wide[1:-1] + wide[2:]) / 4
    return made


def _by_track(
    on: np.ndarray,
    probabilities: np.ndarray,
    spacing: Spacing,
    how: FilterSettings,
    cyclic: bool,
    rule: ComponentRule | None,
) -> np.ndarray:
    found: list[Components] = [
        components(mask, p, spacing, how.connectivity)
        for mask, p in zip(on, probabilities, strict=True)
    ]
    tracks = find_tracks(found, spacing, cyclic, how.overlap, how.distance_mm)
    wanted = tracks.runs(cyclic) >= how.run
    if rule is not None:
        # Tracks that are too short do not take the place of one that is long enough.
        volume = np.where(wanted, tracks.volume * tracks.present.sum(axis=0), 0.0)
        wanted &= tracks.volume >= rule.min_volume_mm3
        wanted &= _ranked(rule, volume, tracks.probability, wanted)
    return np.stack([
        part.of(wanted[owner]) for part, owner in zip(found, tracks.track, strict=True)
    ])  # fmt: skip


def _ranked(
    rule: ComponentRule, volume: np.ndarray, probability: np.ndarray, wanted: np.ndarray
) -> np.ndarray:
    """The rule over tracks: score = volume summed over phases x mean probability."""
    accepted = np.zeros(len(volume), dtype=bool)
    accepted[wanted] = rule.accepts(volume[wanted], probability[wanted])
    return accepted
