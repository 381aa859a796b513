"""Tests that must not be made, and tests that cannot succeed: said before anybody reads a p-value.

Voxels of one image are not independent observations. A test that counts them as such finds
"significance" in nothing: docs/statistics.md has the rejection rates under a true null hypothesis.
"""

from __future__ import annotations

from salearn.settings import nearest
from salearn.stats.result import Result

UNITS = ("patient", "case", "image", "seed", "run", "site", "data set")
INSIDE = {
    "pixel": "pixels of one image",
    "voxel": "voxels of one image",
    "patch": "patches of one image",
    "slice": "slices of one volume",
    "lesion": "lesions of one patient",
}
NULL_REJECTION = "more than half of the studies without any true difference at alpha 0.05"


class RefusedTest(ValueError):  # noqa: N818  (a refusal is no failure of the program)
    """The test is not made, because its p-value would mean nothing; the message says what to do."""


def check_unit(test: str, unit: str) -> None:
    """Refuse a test over things that are not independent of each other.

    Args:
        test: the name of the test, for the message.
        unit: what one observation is, e.g. "patient".

    Raises:
        RefusedTest: the unit is a part of an image or a patient.
        ValueError: the unit is unknown.
    """
    if unit in INSIDE:
        raise RefusedTest(
            f"{test} over {unit}s is refused: {INSIDE[unit]} are not independent, so its p-value "
            f"is far too small (pixel tests call {NULL_REJECTION} significant; "
            "docs/statistics.md). Average within each patient and test over patients, or give the "
            "patients as clusters (salearn.stats.clustered.clustered_auc_test for AUC)"
        )
    if unit not in UNITS:
        raise ValueError(f"{test}: unknown unit '{unit}', {nearest(unit, UNITS)}")


def check_enough(test: str, n: int, least: int, unit: str) -> None:
    """Refuse a test over fewer units than it is defined for.

    Raises:
        RefusedTest: there are fewer than `least` units.
    """
    if n < least:
        raise RefusedTest(f"{test} needs at least {least} {unit}s, got {n}; report the values")


def sign_flip_floor(n: int) -> float:
    """Smallest two-sided p-value of Wilcoxon's or any sign-flip test over n pairs: 2^(1-n)."""
    return min(1.0, 2.0 ** (1 - n))


def pairs_needed(alpha: float = 0.05, comparisons: int = 1) -> int:
    """Pairs from which a two-sided sign-flip test can be significant: 6 at 0.05."""
    n = 1
    while sign_flip_floor(n) > alpha / comparisons:
        n += 1
    return n


def label_hopeless(result: Result, alpha: float = 0.05, comparisons: int = 1) -> Result:
    """The result, with a note if no data of this size could have been significant.

    Args:
        comparisons: size of the family; the smallest p-value is held against alpha / comparisons,
            which the first step of Holm and all of Bonferroni ask for.
    """
    if not cannot_be_significant(result, alpha, comparisons):
        return result
    asked = f"{alpha:g}" if comparisons == 1 else f"{alpha:g}/{comparisons}"
    return result.noted(
        f"Cannot be significant: the smallest p-value that {result.n_units} {result.unit}s can "
        f"give is {result.floor:.4g}, more than {asked}."
    )


def cannot_be_significant(result: Result, alpha: float = 0.05, comparisons: int = 1) -> bool:
    """Whether even the most extreme data of this size would give p > alpha / comparisons."""
    return result.floor > alpha / comparisons
