"""A stand-in Evidence over made-up units, which counts what is asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from salearn.cases import CaseId, Pool, UnitId, unit_id
from salearn.errors import NotTrainedError

DIM = 16
CLASSES = 3
SHAPE = (12, 12, 5)


def unit_length(vectors: np.ndarray) -> np.ndarray:
    rows = np.asarray(vectors, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@dataclass
class StandIn:
    """Everything is in dictionaries by unit; `asked` counts units per kind of question."""

    frozen: Mapping[UnitId, np.ndarray]
    tuned: Mapping[UnitId, np.ndarray] = field(default_factory=dict)
    views: Mapping[UnitId, np.ndarray] = field(default_factory=dict)
    maps: Mapping[UnitId, np.ndarray] = field(default_factory=dict)
    present: Mapping[UnitId, bool] = field(default_factory=dict)
    bank: np.ndarray | None = None
    round: int = 0
    adapted: bool = False
    trained: bool = False
    asked: Counter[str] = field(default_factory=Counter)

    def embeddings(self, units: Sequence[UnitId], adapted: bool = False) -> np.ndarray:
        self.asked["tuned" if adapted else "frozen"] += len(units)
        if adapted and not self.adapted:
            raise NotTrainedError("no encoder is fine-tuned")
        return np.stack([(self.tuned if adapted else self.frozen)[u] for u in units])

    def view_embeddings(self, units: Sequence[UnitId]) -> np.ndarray:
        self.asked["views"] += len(units)
        return np.stack([self.views[u] for u in units])

    def reference_bank(self) -> np.ndarray | None:
        self.asked["bank"] += 1
        return self.bank

    def probabilities(self, unit: UnitId) -> np.ndarray:
        self.asked["probabilities"] += 1
        if not self.trained:
            raise NotTrainedError("nothing is trained")
        return self.maps[unit]

    def foreground(self, unit: UnitId) -> bool:
        self.asked["foreground"] += 1
        return self.present[unit]


def units_of(kind: str, num_cases: int) -> list[UnitId]:
    cases = [CaseId(f"case_{i:02d}") for i in range(num_cases)]
    if kind == "volume":
        return [unit_id(c) for c in cases]
    return [unit_id(c, z) for c in cases for z in range(SHAPE[2])]


def blob(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities of a blurred two-class blob, with voxels of exactly 0 and exactly 1."""
    grid = np.stack(np.meshgrid(*(np.arange(s) - s / 2 for s in shape), indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    inside = np.clip((rng.uniform(2, 5) - radius) / rng.uniform(0.5, 3) + 0.5, 0, 1)
    share = np.clip(grid[0] / 3 + 0.5, 0, 1)
    return np.stack([1 - inside, inside * share, inside * (1 - share)]).astype(np.float32)


def world(
    kind: str, round_: int = 0, num_cases: int = 10, num_labeled: int = 6, seed: int = 0
) -> tuple[Pool, StandIn]:
    """A pool and its evidence; `kind` is volume or slice. In round 0 nothing is labeled."""
    rng = np.random.default_rng(seed)
    units = units_of(kind, num_cases if kind == "slice" else 3 * num_cases)
    frozen = unit_length(rng.standard_normal((len(units), DIM)))
    tuned = unit_length(frozen + 0.3 * rng.standard_normal(frozen.shape))
    views = unit_length(frozen[:, None] + 0.2 * rng.standard_normal((len(units), 4, DIM)))
    shape = SHAPE if kind == "volume" else (*SHAPE[:2], 1)
    maps = [blob(rng, shape) for _ in units]
    labeled = tuple(units[i] for i in rng.permutation(len(units))[:num_labeled])
    labeled = labeled if round_ else ()
    rest = tuple(u for u in units if u not in labeled)
    evidence = StandIn(
        frozen=dict(zip(units, frozen, strict=True)),
        tuned=dict(zip(units, tuned, strict=True)) if round_ else {},
        views=dict(zip(units, views, strict=True)),
        maps=dict(zip(units, maps, strict=True)),
        present=dict.fromkeys(labeled, True),
        round=round_,
        adapted=round_ > 0,
        trained=round_ > 0,
    )
    return Pool(labeled=labeled, unlabeled=rest), evidence
