"""Selective semi-supervised fine-tuning: which pseudo-labels are reliable enough to learn from.

A reconstruction in the style of ASFDA/ASSFT (arXiv 2509.10784), whose equations are not public.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.settings import Field, settings

Mode = Literal["off", "all", "confidence", "distance", "both"]


@settings
class SelectiveSettings:
    """Reliability of a case: how sure its pseudo-label is, and how near it lies to labeled cases.

    Attributes:
        mode: "all" = every case that `pseudo.keep` leaves; "confidence" = the surest share;
            "distance" = the nearest share; "both" = those that pass both; "off" = none, so that
            the host learns without pseudo-labels.
        share: of the cases that pass a test, at the first and at the last turn of SFR+; without
            turns the last one counts.
        reach: a case further from the labeled ones than `reach` times the 95th percentile of
            their own nearest distances is refused; needs two labeled cases, 0 = no such test.
        encoder: embeddings of the adapted or of the frozen encoder.
        size: predicted foreground of a case, as a factor of the smallest and of the largest
            labeled one, class by class; None = no test.
        weighted: confidence of an admitted case = confidence * exp(-distance / greatest allowed
            distance); it enters the loss where `pseudo_loss.case_confidence` is on.
        voxels: leave out voxels whose greatest probability is below the median of their class
            over admitted cases, held in `floor`..`cap`: rare classes are not silenced.

    Source: reconstruction, active_learning.md 2.5 (reference notes).
    """

    mode: Mode = "all"
    share: tuple[float, float] = (0.1, 0.5)
    reach: float = Field(default=1.5, ge=0)
    encoder: Literal["adapted", "frozen"] = "adapted"
    size: tuple[float, float] | None = None
    weighted: bool = False
    voxels: bool = False
    floor: float = Field(default=0.6, ge=0, le=1)
    cap: float = Field(default=0.95, ge=0, le=1)

    def __post_init__(self) -> None:
        if not all(0 < share <= 1 for share in self.share):
            raise ConfigError(f"selective.share: {self.share} must be above 0 and at most 1")
        if self.floor > self.cap:
            raise ConfigError(f"selective.floor {self.floor} is above selective.cap {self.cap}")
        if self.size is not None and not 0 <= self.size[0] <= self.size[1]:
            raise ConfigError(f"selective.size: {self.size} must rise from 0 or more")

    @property
    def far(self) -> bool:
        """Whether distances are needed."""
        return self.mode in ("distance", "both") or self.weighted

    def share_at(self, turn: int, turns: int) -> float:
        """Admitted share of a turn, rising linearly to the last one (0-based)."""
        first, last = self.share
        return last if turns < 2 else first + (last - first) * turn / (turns - 1)


@dataclass(frozen=True, kw_only=True)
class Reliable:
    """The cases that pass, with their weights 0..1."""

    weights: Mapping[CaseId, float]

    @property
    def cases(self) -> set[CaseId]:
        """Who is admitted."""
        return set(self.weights)


def reliable(
    confidence: Mapping[CaseId, float],
    distance: Mapping[CaseId, float] | None,
    given: SelectiveSettings,
    share: float,
    furthest: float = np.inf,
) -> Reliable:
    """Apply the tests of the mode; of equal cases the earlier id wins.

    Args:
        distance: 1 - cosine to the nearest labeled case, where the mode needs it.
        share: of the cases that pass each test.
        furthest: greatest distance that is allowed, see `furthest_of`.

    Source: reconstruction, active_learning.md 2.5 (R_t, D_t, w_u).
    """
    if given.mode == "off":
        return Reliable(weights={})
    kept = set(confidence)
    if given.mode in ("confidence", "both"):
        kept &= _lowest({case: -value for case, value in confidence.items()}, share)
    limit = np.inf
    if given.far and distance:
        limit = min(float(np.quantile(list(distance.values()), share)), furthest)
        if given.mode in ("distance", "both"):
            kept &= {case for case in _lowest(distance, share) if distance[case] <= furthest}
    weights = {case: confidence[case] for case in sorted(kept)}
    if given.weighted and distance:
        weights = {
            c: w * float(np.exp(-distance[c] / max(limit, 1e-9))) for c, w in weights.items()
        }
    return Reliable(weights=weights)


def _lowest(values: Mapping[CaseId, float], share: float) -> set[CaseId]:
    ranked = sorted(values, key=lambda case: (values[case], case))
    return set(ranked[: max(1, round(share * len(values)))])


def distances(
    rows: Float[np.ndarray, "case dim"], labeled: Float[np.ndarray, "labeled dim"]
) -> Float[np.ndarray, " case"]:
    """1 - cosine of each unit row to the nearest labeled one, 0..2."""
    found: np.ndarray = 1 - (rows @ labeled.T).max(axis=1)
    return found


def furthest_of(labeled: Float[np.ndarray, "labeled dim"], reach: float) -> float:
    """`reach` times the 95th percentile of each labeled row's distance to its nearest other one.

    Infinite with fewer than two labeled cases, or with reach 0.
    """
    if len(labeled) < 2 or not reach:
        return float(np.inf)
    cosines = labeled @ labeled.T
    np.fill_diagonal(cosines, -1.0)
    return float(reach * np.quantile(1 - cosines.max(axis=1), 0.95))


def sizes_fit(
    volumes: Float[np.ndarray, " class"],
    labeled: Float[np.ndarray, "labeled class"],
    limits: tuple[float, float],
) -> bool:
    """Whether every class's predicted voxels lie within the labeled range times the limits."""
    low, high = labeled.min(axis=0) * limits[0], labeled.max(axis=0) * limits[1]
    return bool(((volumes >= low) & (volumes <= high)).all())


def class_thresholds(
    predictions: Sequence[Float[np.ndarray, "class _x _y _z"]], given: SelectiveSettings
) -> Float[np.ndarray, " class"]:
    """Median highest probability of each class where it is predicted, held in floor..cap."""
    found: list[list[np.ndarray]] = [[] for _ in predictions[0]]
    for p in predictions:
        whole = np.asarray(p, dtype=np.float32)
        labels, greatest = whole.argmax(axis=0), whole.max(axis=0)
        for c, values in enumerate(found):
            values.append(greatest[labels == c])
    joined = [np.concatenate(values) for values in found]
    medians = [float(np.median(v)) if len(v) else given.floor for v in joined]
    return np.clip(medians, given.floor, given.cap).astype(np.float32)


def sure_voxels(
    probabilities: Float[np.ndarray, "class x y z"], thresholds: Float[np.ndarray, " class"]
) -> Bool[np.ndarray, "x y z"]:
    """Voxels whose greatest probability reaches the threshold of their class."""
    p = np.asarray(probabilities, dtype=np.float32)
    sure: np.ndarray = p.max(axis=0) >= thresholds[p.argmax(axis=0)]
    return sure
