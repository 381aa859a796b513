"""A pool as its embeddings show it: what every strategy of directions and distances starts from."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float

from salearn.cases import Pool, Selection, UnitId, by_rows
from salearn.evidence import Evidence
from salearn.features.index import IndexSettings
from salearn.features.rows import Rows, Vectors, blank_rows, blocks, open_rows
from salearn.settings import Field, settings
from strategies.greedy import Batch
from strategies.limits import Limits
from strategies.terms import gate, neighbourhood, ranks


@settings
class SceneSettings:
    """How a geometric strategy looks at a pool.

    Attributes:
        gate: units whose typicality rank is below are taken last; 0 = all are equal, as published.
        gate_neighbours: k of that typicality (mean cosine to the k nearest), capped by the pool.
        index: how neighbours are searched, and the memory that may be used.
    """

    gate: float = Field(default=0.0, ge=0, le=1)
    gate_neighbours: int = Field(default=20, ge=1)
    index: IndexSettings = IndexSettings()

    def limits(self, scene: Scene) -> Limits:
        """Blank units are taken last, and before them isolated ones if there is a gate."""
        made = Limits(scene.units)
        if self.gate:
            rho, _ = neighbourhood(scene.z, self.gate_neighbours, self.index)
            made.shut("gate", gate(ranks(rho), self.gate))
        made.shut("blank", scene.blank)
        return made


@dataclass(frozen=True)
class Scene:
    """One row per unlabeled unit, rows sorted by id.

    Attributes:
        z, labeled_z: embeddings: adapted once there are any (round >= 1), else frozen.
    """

    units: tuple[UnitId, ...]
    labeled: tuple[UnitId, ...]
    z: Float[np.ndarray, "unit dim"] | Rows
    labeled_z: Float[np.ndarray, "labeled dim"] | Rows

    @cached_property
    def blank(self) -> Bool[np.ndarray, " unit"]:
        """Units whose embedding is zero."""
        return blank_rows(self.z)

    def answer(self, batch: Batch) -> Selection:
        """The chosen units and everybody's scores."""
        return by_rows(self.units, batch.rows, batch.scores)


def look(pool: Pool, evidence: Evidence, index: IndexSettings) -> Scene:
    """Ask for the embeddings of a pool once.

    Raises:
        ValueError: an embedding is not finite.
    """
    units, labeled = tuple(sorted(pool.unlabeled)), tuple(sorted(pool.labeled))
    adapted = has_adapted(evidence)
    z = vectors_of(evidence, units, adapted, index.memory)
    labeled_z = vectors_of(evidence, labeled, adapted, index.memory) if labeled else z[:0]
    return Scene(units=units, labeled=labeled, z=z, labeled_z=labeled_z)


def has_adapted(evidence: Evidence) -> bool:
    """Whether the fine-tuned encoder is to be used."""
    return bool(evidence.adapted and evidence.round >= 1)


def vectors_of(evidence: Evidence, units: Sequence[UnitId], adapted: bool, memory: int) -> Vectors:
    """Embeddings as unit rows: in memory if they take at most half of it, else where they are.

    Raises:
        ValueError: an embedding is not finite; the message names the units.
    """
    vectors = np.asarray(evidence.embeddings(units, adapted))
    with naming(units, vectors):
        return open_rows(vectors, memory)


@contextmanager
def naming(units: Sequence[UnitId], vectors: Float[np.ndarray, "unit dim"]) -> Iterator[None]:
    """Inside the block an embedding that is not finite is told by the units' names."""
    try:
        yield
    except ValueError:
        names = [str(units[row]) for row in not_finite(vectors)]
        if not names:
            raise
        raise ValueError(f"embeddings must be finite; these units' are not: {names}") from None


def rows_of(
    evidence: Evidence, units: Sequence[UnitId], adapted: bool
) -> Float[np.ndarray, "unit dim"]:
    """Embeddings as unit rows, all of them as float32: for strategies that read maps anyway.

    Raises:
        ValueError: an embedding is not finite; the message names the units.
    """
    return vectors_of(evidence, units, adapted, sys.maxsize)[:]


def not_finite(vectors: Float[np.ndarray, "row dim"]) -> list[int]:
    """The first five rows that hold NaN or Inf."""
    bad: list[int] = []
    for part in blocks(len(vectors)):
        rows = np.flatnonzero(~np.isfinite(vectors[part]).all(axis=1)) + part.start
        bad += rows.tolist()
        if len(bad) >= 5:
            break
    return bad[:5]
