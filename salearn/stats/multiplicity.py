"""Many tests at once: adjusted p-values of a family declared before the test set is opened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
from jaxtyping import Float

from salearn.stats.refuse import cannot_be_significant, label_hopeless
from salearn.stats.result import Result

Correction = Literal["holm", "bonferroni", "bh"]


def bonferroni(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """min(1, m p): for comparison with papers that report it."""
    adjusted: np.ndarray = np.minimum(1.0, len(p) * p)
    return adjusted


def holm(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Holm's (1979) step-down p-values, for decisions: they control the family-wise error.

    Sorted p(1) <= ... <= p(m): running maximum of min(1, (m - i + 1) p(i)).
    """
    order = np.argsort(p, kind="stable")
    stepped = np.minimum(1.0, (len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(stepped)
    return adjusted


def benjamini_hochberg(p: Float[np.ndarray, " test"]) -> Float[np.ndarray, " test"]:
    """Benjamini & Hochberg's (1995) false-discovery-rate p-values, for exploratory tables only."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(p)) if len(p) else p.copy()


def adjust(
    p: Float[np.ndarray, " test"], correction: Correction = "holm"
) -> Float[np.ndarray, " test"]:
    """Adjusted p-values; NaN (no test made) stays NaN and does not count in the family.

    Raises:
        ValueError: a p-value is not in 0..1.
    """
    made = ~np.isnan(p)
    if ((p[made] < 0) | (p[made] > 1)).any():
        raise ValueError(f"p-values must lie in 0..1, got {p.tolist()}")
    rule = {"holm": holm, "bonferroni": bonferroni, "bh": benjamini_hochberg}[correction]
    adjusted = np.full(len(p), np.nan)
    adjusted[made] = rule(p[made])
    return adjusted


def family(results: Sequence[Result], alpha: float = 0.05) -> list[Result]:
    """The results of one family with `p_holm` and `p_bonferroni` among their details.

    A test that could not have been significant in a family of this size says so in its note.
    """
    p = np.array([result.p_value for result in results], dtype=float)
    size = int((~np.isnan(p)).sum())
    by_holm, by_bonferroni = adjust(p, "holm"), adjust(p, "bonferroni")
    rows = []
    for result, step, plain in zip(results, by_holm, by_bonferroni, strict=True):
        details = {**result.details, "p_holm": float(step), "p_bonferroni": float(plain)}
        row = replace(result, details=details)
        # Where even alpha is out of reach, the test itself has said so.
        alone = cannot_be_significant(result, alpha)
        rows.append(row if alone else label_hopeless(row, alpha, max(size, 1)))
    return rows
