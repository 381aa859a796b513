"""Paired and unpaired bootstrap over patients x draw seeds x train seeds: claims about methods."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from salearn.stats.bootstrap import ENOUGH_SEEDS, Hierarchy, Interval, percentile_interval
from salearn.stats.components import ONE_RUN
from salearn.stats.refuse import check_enough, check_unit
from salearn.stats.resample import bootstrap_p
from salearn.stats.result import Result

NAME = "hierarchical bootstrap"


def compare_methods(
    first: Float[np.ndarray, "run case column"],
    second: Float[np.ndarray, "_run _case _column"],
    draws: Sequence[int],
    *,
    unit: str = "case",
    replicates: int = 2_000,
    seed: int = 0,
    level: float = 0.95,
) -> Result:
    """Mean paired difference of two methods, its percentile interval and p-value.

    Runs of both arms are paired by position (same draw and train seed), cases by position; seeds
    and cases are resampled jointly for both arms. Several images a patient: average them first
    (`paired.patient_means`), as the patient is the unit. Understates the variance over seeds by
    (n - 1) / n: with fewer than 5 draws prefer `components.crossed_t_test`.

    Args:
        draws: the draw seed of each run.

    Raises:
        RefusedTest: the unit is a part of an image, or there are fewer than 2 cases.
        ValueError: arms of different shape.
    """
    check_unit(NAME, unit)
    if first.shape != second.shape:
        raise ValueError(f"paired arms need equal shapes, got {first.shape} and {second.shape}")
    check_enough(NAME, first.shape[1], 2, unit)
    hierarchy = Hierarchy.make(draws, first.shape[1], replicates, seed)
    gaps = first - second
    drawn = hierarchy.replicates(gaps)
    found = hierarchy.interval_of(gaps, drawn, level)
    return Result(
        name=f"{NAME} over {hierarchy.over}",
        statistic=found.estimate,
        p_value=bootstrap_p(drawn),
        n_units=first.shape[1],
        unit=unit,
        interval=(found.low, found.high),
        estimate=found.estimate,
        floor=2 / (replicates + 1),
        note=" ".join(_notes(draws, found, unit)),
        details={"draws": len(set(draws)), "runs": len(draws)},
    )


def _notes(draws: Sequence[int], found: Interval, unit: str) -> list[str]:
    notes, seeds = [], len(set(draws))
    if len(draws) == 1:
        notes.append(ONE_RUN)
    elif seeds < ENOUGH_SEEDS:
        notes.append(f"{seeds} draw seeds: the bootstrap understates their spread.")
    if found.descriptive:
        notes.append(f"Fewer than 8 {unit}s: the interval describes the sample only.")
    return notes


def difference_replicates(
    first: Float[np.ndarray, "budget run case"],
    second: Float[np.ndarray, "_budget _run _case"],
    draws: Sequence[int],
    replicates: int = 2_000,
    seed: int = 0,
) -> Float[np.ndarray, "b budget"]:
    """Difference of two budget curves in each resample, one resample for all budgets.

    Raises:
        ValueError: arms of different shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"paired arms need equal shapes, got {first.shape} and {second.shape}")
    hierarchy = Hierarchy.make(draws, first.shape[2], replicates, seed)
    return curve_replicates(first - second, hierarchy)


def curve_replicates(
    values: Float[np.ndarray, "budget run case"], hierarchy: Hierarchy
) -> Float[np.ndarray, "b budget"]:
    """Mean over runs and cases at each budget, in each resample of the hierarchy."""
    return np.stack([hierarchy.replicates(table[:, :, None]) for table in values], axis=1)


def retention(
    part: Float[np.ndarray, "run case"],
    full: Float[np.ndarray, "_run _case"],
    draws: Sequence[int],
    replicates: int = 2_000,
    seed: int = 0,
) -> Interval:
    """R_b = m(b) / m(100 %) with the interval of the ratio; both sides are resampled alike.

    Raises:
        ValueError: arms of different shape.
    """
    if part.shape != full.shape:
        raise ValueError(f"a ratio needs equal shapes, got {part.shape} and {full.shape}")
    hierarchy = Hierarchy.make(draws, part.shape[1], replicates, seed)
    top, bottom = part[:, :, None], full[:, :, None]
    ratios = hierarchy.replicates(top) / hierarchy.replicates(bottom)
    low, high = percentile_interval(ratios)
    return Interval(
        estimate=hierarchy.estimate(top) / hierarchy.estimate(bottom),
        low=low,
        high=high,
        method="percentile",
        over=hierarchy.over,
        descriptive=hierarchy.descriptive,
    )


def gap(
    internal: Float[np.ndarray, "run case"],
    external: Float[np.ndarray, "_run other"],
    draws: Sequence[int],
    replicates: int = 2_000,
    seed: int = 0,
) -> Interval:
    """Internal minus external mean: cases of the two data sets resampled apart, runs together.

    Raises:
        ValueError: different numbers of runs.
    """
    if len(internal) != len(external):
        raise ValueError(f"{len(internal)} internal and {len(external)} external runs")
    inside = Hierarchy.make(draws, internal.shape[1], replicates, seed)
    # Same seed and draws = same resampled runs; the cases need numbers of their own.
    other = Hierarchy.make(draws, external.shape[1], replicates, seed + 1)
    outside = Hierarchy(inside.draws, inside.run_weights, other.case_weights)
    here, there = internal[:, :, None], external[:, :, None]
    low, high = percentile_interval(inside.replicates(here) - outside.replicates(there))
    return Interval(
        estimate=inside.estimate(here) - outside.estimate(there),
        low=low,
        high=high,
        method="percentile",
        over=f"{inside.over} (internal), {outside.over} (external)",
        descriptive=inside.descriptive or outside.descriptive,
    )
