"""Comparing areas under the ROC curve of independent subjects (DeLong et al. 1988)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.stats.auc_replicates import auc_replicates
from salearn.stats.refuse import RefusedTest, check_unit
from salearn.stats.resample import bootstrap_p
from salearn.stats.result import Alternative, Result, tail

SAME = 1e-12  # variances and differences below this are rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class AucTable:
    """The AUC of every arm and their covariance.

    Attributes:
        auc: one for each arm, 0..1.
        covariance: of the AUCs.
        positives, negatives: how many subjects of each kind.
    """

    auc: Float[np.ndarray, " arm"]
    covariance: Float[np.ndarray, "arm arm"]
    positives: int
    negatives: int

    def interval(
        self, arm: int, level: float = 0.95, scale: Literal["linear", "logit"] = "linear"
    ) -> tuple[float, float]:
        """Normal interval of an AUC, clipped to 0..1; "logit" for an AUC near 1."""
        from scipy.special import expit, logit
        from scipy.stats import norm

        area, error = float(self.auc[arm]), math.sqrt(float(self.covariance[arm, arm]))
        reach = float(norm.ppf((1 + level) / 2)) * error
        if scale == "linear" or not 0 < area < 1:
            return max(0.0, area - reach), min(1.0, area + reach)
        stretched = reach / (area * (1 - area))
        middle = float(logit(area))
        return float(expit(middle - stretched)), float(expit(middle + stretched))


def placements(
    positives: Float[np.ndarray, "arm m"], negatives: Float[np.ndarray, "arm n"]
) -> tuple[Float[np.ndarray, "arm m"], Float[np.ndarray, "arm n"]]:
    """Placement values V10 (of each positive) and V01 (of each negative), 0..1.

    V10_i = mean over j of psi(X_i, Y_j) with psi = 1, 1/2, 0 for X above, equal to, below Y; V01_j
    = mean over i. By midranks, O(N log N) (Sun & Xu 2014).
    """
    from scipy.stats import rankdata

    m, n = positives.shape[1], negatives.shape[1]
    together = rankdata(np.concatenate([positives, negatives], axis=1), axis=1)
    v10 = (together[:, :m] - rankdata(positives, axis=1)) / n
    v01 = 1 - (together[:, m:] - rankdata(negatives, axis=1)) / m
    return v10, v01


def auc_table(scores: Float[np.ndarray, "arm unit"], truth: Bool[np.ndarray, " unit"]) -> AucTable:
    """AUCs and their covariance S10/m + S01/n, the S with denominators m - 1 and n - 1.

    Raises:
        RefusedTest: fewer than two positives or two negatives.
        ValueError: a score is NaN.
    """
    positives, negatives = split_scores(scores, truth)
    m, n = positives.shape[1], negatives.shape[1]
    if min(m, n) < 2:
        raise RefusedTest(
            f"DeLong's variance needs at least 2 positives and 2 negatives, got {m} and {n}"
        )
    v10, v01 = placements(positives, negatives)
    covariance = np.atleast_2d(np.cov(v10)) / m + np.atleast_2d(np.cov(v01)) / n
    return AucTable(auc=v10.mean(axis=1), covariance=covariance, positives=m, negatives=n)


def split_scores(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the positives and those of the negatives.

    Raises:
        ValueError: a score is NaN.
    """
    if np.isnan(scores).any():
        raise ValueError("scores must not be NaN; leave out and count the subjects without one")
    return scores[:, truth], scores[:, ~truth]


def difference(
    table: AucTable,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
    df: float = math.inf,
) -> tuple[float, float, float, tuple[float, float]]:
    """Difference of the first two arms, Z, p-value and interval; normal, or t with `df` degrees.

    Z = (A1 - A2) / sqrt(S11 + S22 - 2 S12). With variance 0 Z = 0 and p = 1 if the AUCs are equal;
    if they are not, Z is infinite and p NaN: there is no normal test.
    """
    from scipy.stats import t

    gap = float(table.auc[0] - table.auc[1])
    s = table.covariance
    variance = float(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    if variance <= SAME**2:
        same = abs(gap) <= SAME
        z, p = (0.0, 1.0) if same else (math.copysign(math.inf, gap), math.nan)
        return gap, z, p, (gap, gap)
    error = math.sqrt(variance)
    z, reach = gap / error, float(t.ppf((1 + level) / 2, df)) * error
    p = tail(alternative, float(t.cdf(z, df)), float(t.sf(z, df)))
    return gap, z, p, (gap - reach, gap + reach)


def delong_paired(
    first: Float[np.ndarray, " unit"],
    second: Float[np.ndarray, " unit"],
    truth: Bool[np.ndarray, " unit"],
    *,
    unit: str,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Result:
    """DeLong's test of two arms' AUCs on the same independent subjects.

    Args:
        unit: what has one score; "image" is right only with one image a patient, then say "case".

    Raises:
        RefusedTest: the unit is a part of an image (use `clustered_auc_test`), or there are fewer
            than two positives or negatives.
    """
    check_unit("DeLong's test", unit)
    table = auc_table(np.stack([first, second]), truth)
    gap, z, p, interval = difference(table, alternative, level)
    name = "DeLong, paired"
    if math.isnan(p):
        p, name = _bootstrap(first, second, truth, alternative), "AUC difference, bootstrap"
    return Result(
        name=name,
        statistic=z,
        p_value=p,
        n_units=len(truth),
        unit=unit,
        interval=interval,
        estimate=gap,
        details={"auc_first": float(table.auc[0]), "auc_second": float(table.auc[1])},
    )


def _bootstrap(
    first: np.ndarray, second: np.ndarray, truth: np.ndarray, alternative: Alternative
) -> float:
    """P-value where DeLong's variance is 0 though the AUCs differ."""
    drawn = auc_replicates(np.stack([first, second]), truth, np.arange(len(truth)))
    gaps = drawn[:, 0] - drawn[:, 1]
    return bootstrap_p(gaps[~np.isnan(gaps)], alternative=alternative)


def delong_unpaired(
    first: AucTable,
    second: AucTable,
    *,
    unit: str,
    alternative: Alternative = "two-sided",
    level: float = 0.95,
) -> Result:
    """DeLong's test of two AUCs on different subjects (internal against external), first arms.

    D = (A1 - A2) / sqrt(v1 + v2), t with (v1 + v2)^2 / (v1^2/(N1 - 1) + v2^2/(N2 - 1)) degrees.

    Raises:
        RefusedTest: the unit is a part of an image.
    """
    from scipy.stats import t

    check_unit("DeLong's test", unit)
    gap = float(first.auc[0] - second.auc[0])
    v = np.array([first.covariance[0, 0], second.covariance[0, 0]])
    n = np.array([table.positives + table.negatives for table in (first, second)])
    total = float(v.sum())
    if total <= SAME**2:
        raise RefusedTest("both AUCs have variance 0 (perfect separation): there is no t-test")
    df = total**2 / float((v**2 / (n - 1)).sum())
    d, reach = gap / math.sqrt(total), float(t.ppf((1 + level) / 2, df)) * math.sqrt(total)
    return Result(
        name="DeLong, unpaired",
        statistic=d,
        p_value=tail(alternative, float(t.cdf(d, df)), float(t.sf(d, df))),
        n_units=int(n.sum()),
        unit=unit,
        interval=(gap - reach, gap + reach),
        estimate=gap,
        details={"df": df},
    )
