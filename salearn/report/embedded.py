"""Embeddings of a run's candidates, read from the store that the run wrote them into."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from jaxtyping import Float

from salearn.cases import UnitId, parse_patch, parse_unit
from salearn.report.runs import Run
from salearn.store import content_key, read_json

VECTORS = "vectors.npy"


@dataclass(frozen=True, kw_only=True, eq=False)
class Embedded:
    """Frozen embeddings of all candidates of a run.

    Attributes:
        units: sorted ids.
        z: unit rows; of a volume the plain mean of its slices.
        key: the same for runs with the same candidates and embeddings.
    """

    units: tuple[str, ...]
    z: Float[np.ndarray, "unit dim"] = field(repr=False)
    key: str

    def rows(self, units: Sequence[str]) -> list[int]:
        """Places of some units, in their order; strangers are left out."""
        place = {unit: row for row, unit in enumerate(self.units)}
        return [place[unit] for unit in units if unit in place]


def embedded(run: Run) -> Embedded | None:
    """What the store holds of the candidates of a run's first round.

    None if the run has no round, was made without embeddings.json, or nobody embedded its
    candidates (`salearn embed` does; no strategy of the study looked at them).
    """
    file = run.path / "embeddings.json"
    if not run.rounds or not file.is_file():
        return None
    found = read_json(file)
    units = tuple(sorted(run.rounds[0].get("scores") or ()))
    keys = tuple((unit, str(found["keys"].get(_entry(unit)))) for unit in units)
    return _read(str((run.path / found["store"]).resolve()), keys) if keys else None


def _entry(unit: str) -> str:
    return unit if parse_patch(UnitId(unit)) is not None else str(parse_unit(UnitId(unit))[0])


@lru_cache(maxsize=8)
def _read(store: str, keys: tuple[tuple[str, str], ...]) -> Embedded | None:
    """Arms of a study share their candidates: read once."""
    rows = []
    last, slices = "", np.zeros((0, 0), dtype=np.float32)
    for unit, key in keys:
        if key != last:
            file = Path(store) / key / VECTORS
            if not file.is_file():
                return None
            last, slices = key, np.load(file).astype(np.float32)
        index = parse_unit(UnitId(unit))[1]
        rows.append(slices.mean(axis=0) if index is None else slices[index])
    z = np.stack(rows)
    lengths = np.linalg.norm(z, axis=1, keepdims=True)
    units = tuple(unit for unit, _ in keys)
    unit_rows = z / np.where(lengths > 0, lengths, 1)
    return Embedded(units=units, z=unit_rows.astype(np.float32), key=content_key(store, keys))


def plane(
    z: Float[np.ndarray, "unit dim"],
) -> tuple[Float[np.ndarray, "unit 2"], tuple[float, float]]:
    """The first two principal components, and the share of the variance that each explains.

    Signs are fixed (the largest weight of a component is positive), so the map does not flip.
    """
    centred = (z - z.mean(axis=0)).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    axes = vectors[:, ::-1][:, :2]
    if axes.shape[1] < 2:
        axes = np.pad(axes, ((0, 0), (0, 2 - axes.shape[1])))
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.where(axes[largest, [0, 1]] < 0, -1, 1)
    total = max(float(values.sum()), 1e-12)
    first = [float(v) / total for v in (*values[::-1][:2], 0.0)][:2]
    return centred @ axes, (first[0], first[1])
