"""Two arms on the same cases: the default comparison of per-case scores."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from jaxtyping import Float

from salearn.stats.bootstrap import FEW_CLUSTERS, bootstrap_mean
from salearn.stats.effects import cohen_dz
from salearn.stats.result import Result
from salearn.stats.signed_rank import paired_differences, wilcoxon

EXPLORATORY, FINAL = 2_000, 10_000  # bootstrap replicates


def patient_means(
    values: Float[np.ndarray, "*rest case"], patients: Sequence[Hashable]
) -> Float[np.ndarray, "*rest patient"]:
    """Mean over the images of each patient, in the order in which patients first appear.

    NaN values are left out; a patient without any value is NaN.

    Raises:
        ValueError: not one patient for each case.
    """
    if len(patients) != values.shape[-1]:
        raise ValueError(f"{len(patients)} patients for {values.shape[-1]} cases")
    order = {name: k for k, name in enumerate(dict.fromkeys(patients))}
    member = np.zeros((len(patients), len(order)))
    member[np.arange(len(patients)), [order[name] for name in patients]] = 1
    counts = (~np.isnan(values)).astype(float) @ member
    # Summing only what is defined: 0 * inf would turn every other patient's mean into NaN.
    sums = np.stack(
        [np.nansum(values[..., member[:, k] > 0], axis=-1) for k in range(len(order))], axis=-1
    )
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def compare_paired(
    first: Float[np.ndarray, " unit"],
    second: Float[np.ndarray, " unit"],
    *,
    unit: str,
    replicates: int = FINAL,
    seed: int = 0,
    level: float = 0.95,
) -> Result:
    """Mean paired difference with its bootstrap interval, and Wilcoxon's exact p-value.

    Pairs in which a value is NaN are left out and counted in the note. Infinite distances enter
    the test as the worst values; a mean over them does not exist, so its interval is then None.

    Raises:
        RefusedTest: the unit is a part of an image, or no pair is left.
    """
    there = ~(np.isnan(first) | np.isnan(second))
    differences = paired_differences(first[there], second[there])
    ranks = wilcoxon(differences, unit=unit, level=level)
    estimate, interval, dz = np.nan, None, np.nan
    if np.isfinite(differences).all():
        found = bootstrap_mean(differences, replicates=replicates, seed=seed, level=level)
        estimate, interval = found.estimate, (found.low, found.high)
        dz = cohen_dz(differences)
    result = Result(
        name="paired difference (percentile bootstrap; Wilcoxon)",
        statistic=ranks.statistic,
        p_value=ranks.p_value,
        n_units=len(differences),
        unit=unit,
        interval=interval,
        estimate=float(estimate),
        floor=ranks.floor,
        note=ranks.note,
        details={**ranks.details, "d_z": float(dz), "hodges_lehmann": ranks.estimate},
    )
    return result.noted(*_notes(len(first) - len(differences), len(differences), unit))


def _notes(dropped: int, left: int, unit: str) -> list[str]:
    notes = [f"{dropped} undefined {unit} pairs were left out."] if dropped else []
    if left < FEW_CLUSTERS:
        notes.append(f"With {left} {unit}s the interval describes the sample only.")
    return notes
