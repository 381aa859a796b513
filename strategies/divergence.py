"""What DKD and hybrid look at: knowledge gap, typicality, coverage of a pool (reconstruction)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from salearn.cases import Pool, UnitId
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.features.index import IndexSettings
from salearn.features.rows import OneReading, Vectors
from salearn.settings import Field, settings
from strategies.limits import Limits
from strategies.scene import Scene, has_adapted, look, naming, rows_of, vectors_of
from strategies.terms import (
    bank_gap,
    competence,
    density_exponent,
    drift_gap,
    gate,
    nearest_labeled,
    neighbourhood,
    noise_factor,
    ranks,
    stability_gap,
)

__all__ = [
    "DivergenceSettings",
    "NoiseSettings",
    "Survey",
    "has_adapted",
    "rows_of",
    "survey",
]

log = logging.getLogger(__name__)
VIEW_CHUNK = 4096  # units whose views are held at a time


@settings
class NoiseSettings:
    """Exploration noise: scores times exp(Gumbel(0, 1 / beta_t)), as in PowerX = X + noise.

    Attributes:
        noise: off by default.
        noise_beta: beta in the first and in the last loop, geometric in between.
        noise_loops: number of loops of that schedule.
    """

    noise: bool = False
    noise_beta: tuple[float, float] = (1.0, 100.0)
    noise_loops: int = Field(default=5, ge=1)

    def shaken(
        self,
        values: Float[np.ndarray, " unit"],
        round_: int,
        rng: np.random.Generator,
    ) -> Float[np.ndarray, " unit"]:
        """The values with noise, or as they are if it is off."""
        if not self.noise:
            return values
        if min(self.noise_beta) <= 0:
            raise ConfigError(f"noise_beta must be positive, got {list(self.noise_beta)}")
        factor = noise_factor(len(values), round_, self.noise_beta, self.noise_loops, rng)
        shaken: np.ndarray = values * factor
        return shaken


@settings
class DivergenceSettings:
    """How the gap to pre-training knowledge and the structure of the pool are measured.

    Attributes:
        lambda0: share of the score that does not depend on the gap.
        gate: units whose typicality rank is below are not selectable; 0 = no gate.
        neighbours: k of typicality and of delta, capped by the pool.
        gap: auto = drift once an adapted encoder exists (round >= 1), else bank if a reference
            bank is given, else stability under label-preserving views.
        bank_centroids, bank_neighbours: K_ref and k of the bank gap.
        gamma: exponent of typicality; None = 1 in round 0, linear in coverage to 0 at gamma_end.
        gamma_end: coverage c_t at which the exponent reaches 0.
        index: how neighbours are searched.
    """

    lambda0: float = Field(default=0.2, ge=0, le=1)
    gate: float = Field(default=0.05, ge=0, le=1)
    neighbours: int = Field(default=20, ge=1)
    gap: Literal["auto", "drift", "bank", "stability", "none"] = "auto"
    bank_centroids: int = Field(default=1024, ge=1)
    bank_neighbours: int = Field(default=10, ge=1)
    gamma: float | None = Field(default=None, ge=0)
    gamma_end: float = Field(default=0.8, gt=0, le=1)
    index: IndexSettings = IndexSettings()


@dataclass(frozen=True)
class Survey(Scene):
    """A pool as DKD sees it; one row per unlabeled unit, rows sorted by id.

    Attributes:
        nearest: largest cosine to a labeled unit; -1 if there is none.
        gap: g = R(raw gap), or 1 for gap "none".
        rho: R(typicality).
        gamma: its exponent in this round.
        coverage: c_t, share of the pool near a labeled unit.
        isolated: rows shut out by the gate.
    """

    nearest: Float[np.ndarray, " unit"]
    gap: Float[np.ndarray, " unit"]
    rho: Float[np.ndarray, " unit"]
    gamma: float
    coverage: float
    isolated: Bool[np.ndarray, " unit"]

    def static(self, u: Float[np.ndarray, " unit"], lambda0: float) -> np.ndarray:
        """(lambda0 + (1 - lambda0) u) * rho^gamma; 0 for blank units."""
        value: np.ndarray = (lambda0 + (1 - lambda0) * u) * self.rho**self.gamma
        return np.where(self.blank, 0.0, value)

    def limits(self, near_duplicate: float | None = None) -> Limits:
        """The outlier gate, and blank units out, as rules of a batch."""
        made = Limits(self.units, near_duplicate)
        made.shut("gate", self.isolated)
        made.shut("blank", self.blank)
        return made


def survey(pool: Pool, evidence: Evidence, options: DivergenceSettings) -> Survey:
    """Ask for the embeddings once and measure the pool.

    Raises:
        ConfigError: the gap mode needs what is not there (adapted encoder, reference bank).
        ValueError: an embedding is not finite.
    """
    seen = look(pool, evidence, options.index)
    raw_rho, delta = neighbourhood(seen.z, options.neighbours, options.index)
    nearest = nearest_labeled(seen.z, seen.labeled_z)
    coverage = competence(nearest, delta)
    rho = ranks(raw_rho)
    scheduled = density_exponent(evidence.round, coverage, options.gamma_end)
    return Survey(
        units=seen.units,
        labeled=seen.labeled,
        z=seen.z,
        labeled_z=seen.labeled_z,
        nearest=nearest,
        gap=_gap(seen.units, seen.z, evidence, options),
        rho=rho,
        gamma=scheduled if options.gamma is None else options.gamma,
        coverage=coverage,
        isolated=gate(rho, options.gate),
    )


def _gap(
    units: Sequence[UnitId], z: Vectors, evidence: Evidence, options: DivergenceSettings
) -> np.ndarray:
    """g = R(raw gap) in the chosen mode."""
    adapted = has_adapted(evidence)
    bank = evidence.reference_bank() if _wants_bank(options.gap, adapted) else None
    mode = _mode(options.gap, adapted, bank is not None)
    log.info("knowledge gap: %s", mode)
    if mode == "none":
        return np.ones(len(units))
    if mode == "drift":
        vectors = np.asarray(evidence.embeddings(units, False))
        with naming(units, vectors):  # one pass: neither copied as a whole nor kept
            return ranks(drift_gap(OneReading(vectors), z))
    frozen = vectors_of(evidence, units, False, options.index.memory) if adapted else z
    if mode == "stability":
        return ranks(_stability(units, frozen, evidence))
    assert bank is not None
    return ranks(bank_gap(frozen, bank, options.bank_centroids, options.bank_neighbours))


def _wants_bank(gap: str, adapted: bool) -> bool:
    return gap == "bank" or (gap == "auto" and not adapted)


def _mode(gap: str, adapted: bool, has_bank: bool) -> str:
    """The gap mode that is used.

    Raises:
        ConfigError: it needs what is not there.
    """
    if gap == "auto":
        return "drift" if adapted else "bank" if has_bank else "stability"
    if gap == "drift" and not adapted:
        raise ConfigError(
            "gap: 'drift' compares the frozen with the fine-tuned encoder, and no encoder is "
            "fine-tuned yet; say gap: auto, which uses drift once it can"
        )
    if gap == "bank" and not has_bank:
        raise ConfigError("gap: 'bank' needs a reference bank and none is given; say gap: auto")
    return gap


def _stability(units: Sequence[UnitId], frozen: Vectors, evidence: Evidence) -> np.ndarray:
    raw = np.empty(len(units))
    for start in range(0, len(units), VIEW_CHUNK):
        part = slice(start, start + VIEW_CHUNK)
        raw[part] = stability_gap(frozen[part], evidence.view_embeddings(units[part]))
    return raw
