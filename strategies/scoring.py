"""Scorers (what a unit is worth) and simple selectors (who is taken), to be put together.

A strategy of this kind is one scorer class and one selector class in one settings class.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from salearn.cases import Pool, Selection, UnitId, best, check_request
from salearn.errors import ConfigError
from salearn.evidence import Evidence, Passes
from salearn.settings import Field, settings
from strategies.maps import AggregateSettings, checked, mutual_information
from strategies.regions import Measure, uncertainty
from strategies.registry import STRATEGIES, build
from strategies.terms import beta_at

log = logging.getLogger(__name__)
LEAST = 1e-12  # values are not less before their logarithm is taken


@runtime_checkable
class Scorer(Protocol):
    """A strategy whose wish for a unit does not depend on the other units of a batch."""

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """Non-negative value of each unit, higher = more wanted; a model must be trained."""
        ...


def scorer_of(name: str, given: dict[str, Any], axis: int, where: str) -> Scorer:
    """The strategy `name` as a scorer; it gets the slice axis if it has such a setting.

    Raises:
        ConfigError: no such strategy, or it gives no values of single units.
    """
    sliced = "axis" in getattr(STRATEGIES.cls(name), "__dataclass_fields__", {})
    made = build(name, ({"axis": axis} if sliced else {}) | given)
    if not isinstance(made, Scorer):
        known = [n for n in STRATEGIES.available() if hasattr(STRATEGIES.cls(n), "values")]
        raise ConfigError(
            f"{where}: '{name}' does not value units one by one; take one of {', '.join(known)}"
        )
    return made


@settings
class ColdStart:
    """A strategy that asks a trained model; while there is none, its cold start chooses.

    A subclass gives `choose`.

    Attributes:
        cold_start: name of a strategy.
        cold_settings: its settings.
    """

    cold_start: str = "random"
    cold_settings: dict[str, Any] = Field(default_factory=dict)

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units; before anything is trained, the cold start."""
        check_request(pool, n)
        if not evidence.trained:
            return self.cold(pool, n, evidence, rng)
        units = sorted(pool.unlabeled)
        if not units:
            return Selection(unit_ids=(), scores={})
        return self.choose(units, sorted(pool.labeled), n, evidence, rng)

    def choose(
        self,
        units: Sequence[UnitId],
        labeled: Sequence[UnitId],
        n: int,
        evidence: Evidence,
        rng: np.random.Generator,
    ) -> Selection:
        """n of at least one unlabeled unit, n checked; given by the strategy."""
        raise NotImplementedError

    def cold(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """What the cold start chooses.

        Raises:
            ConfigError: it is no strategy, or the one that asks.
        """
        if STRATEGIES.cls(self.cold_start) is type(self):
            raise ConfigError(
                f"{self.cold_start}.cold_start: {self.cold_start} cannot be its own cold start; "
                "say e.g. random"
            )
        log.warning("nothing is trained yet, '%s' chooses this round", self.cold_start)
        return build(self.cold_start, self.cold_settings).select(pool, n, evidence, rng)


@settings
class TopK(ColdStart):
    """Selector: the n largest values; before anything is trained, the cold start."""

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """Given by the scorer class."""
        raise NotImplementedError

    def choose(
        self,
        units: Sequence[UnitId],
        labeled: Sequence[UnitId],
        n: int,
        evidence: Evidence,
        rng: np.random.Generator,
    ) -> Selection:
        """The n units of largest value."""
        values = self.values(units, labeled, evidence)
        values = self.final(values, evidence.round, rng)
        return best(dict(zip(units, values.tolist(), strict=True)), n, rng)

    def final(
        self, values: Float[np.ndarray, " unit"], round_: int, rng: np.random.Generator
    ) -> Float[np.ndarray, " unit"]:
        """What the units are ranked by."""
        return values


@settings
class Power(TopK):
    """Selector: the n largest log(value) + Gumbel(0, 1/beta): a draw without replacement.

    Units are drawn with probability proportional to value^beta, one after the other; beta = 0
    would be random, large beta is the plain ranking.

    Attributes:
        beta: in the first and in the last loop, geometric in between.
        beta_loops: number of loops of that schedule.

    Source: PowerBALD (Kirsch et al., arXiv 2106.12059), section 3; beta 1.
    """

    beta: tuple[float, float] = (1.0, 1.0)
    beta_loops: int = Field(default=5, ge=1)

    def __post_init__(self) -> None:
        if min(self.beta) <= 0:
            raise ConfigError(f"beta must be positive, got {list(self.beta)}")

    def final(
        self, values: Float[np.ndarray, " unit"], round_: int, rng: np.random.Generator
    ) -> Float[np.ndarray, " unit"]:
        """log(value) + noise."""
        beta = beta_at(round_, self.beta, self.beta_loops)
        noise = rng.gumbel(0.0, 1.0 / beta, len(values))
        noisy: np.ndarray = np.log(np.maximum(values, LEAST)) + noise
        return noisy


@settings
class EntropyValues(AggregateSettings):
    """Scorer: entropy of a voxel's mean probabilities over log(classes), 0..1."""

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """Aggregated entropy of each unit."""
        return self._read(units, evidence, "entropy")

    def _read(self, units: Sequence[UnitId], evidence: Evidence, measure: Measure) -> np.ndarray:
        maps = (checked(evidence.probabilities(u), u) for u in units)
        return np.array([self.aggregated(uncertainty(p, measure)) for p in maps])


@settings
class MarginValues(EntropyValues):
    """Scorer: 1 - (largest - second largest mean probability) of a voxel, 0..1."""

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """Aggregated 1 - margin of each unit."""
        return self._read(units, evidence, "margin")


@settings
class BaldValues(AggregateSettings):
    """Scorer: mutual information of prediction and pass, H(mean p) - mean H(p), over log(classes).

    Attributes:
        passes: test-time views of the image (`evidence.views`, at least 2), or draws of dropout
            (`evidence.dropout_passes`).
    """

    passes: Passes = "views"

    def values(
        self, units: Sequence[UnitId], labeled: Sequence[UnitId], evidence: Evidence
    ) -> Float[np.ndarray, " unit"]:
        """Aggregated mutual information of each unit."""
        read = (mutual_information(evidence.passes(u, self.passes), u) for u in units)
        return np.array([self.aggregated(h) for h in read])
