"""A stand-in Evidence over made-up units, which counts what is asked of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from salearn.cases import CaseId, Pool, UnitId, patch_id, unit_id
from salearn.errors import NotTrainedError

DIM = 16
CLASSES = 3
SHAPE = (12, 12, 5)
PATCH = (6, 6, 2)


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
    stacks: Mapping[UnitId, np.ndarray] = field(default_factory=dict)  # pass class x y z
    truth: Mapping[UnitId, np.ndarray] = field(default_factory=dict)
    sizes: Mapping[UnitId, tuple[int, int, int]] = field(default_factory=dict)
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

    def passes(self, unit: UnitId, kind: str) -> Iterator[np.ndarray]:
        self.asked[kind + " passes"] += 1
        if not self.trained:
            raise NotTrainedError("nothing is trained")
        yield from self.stacks[unit] if unit in self.stacks else wobbled(self.maps[unit])

    def extent(self, unit: UnitId) -> tuple[int, int, int]:
        self.asked["extent"] += 1
        if unit in self.sizes:
            return self.sizes[unit]
        return self.maps[unit].shape[1:]

    def audit_mask(self, unit: UnitId) -> np.ndarray:
        self.asked["audit"] += 1
        if unit in self.truth:
            return self.truth[unit]
        return self.maps[unit].argmax(axis=0).astype(np.uint8)

    def foreground(self, unit: UnitId) -> bool:
        self.asked["foreground"] += 1
        return self.present[unit]


def wobbled(p: np.ndarray) -> list[np.ndarray]:
    """Three passes around a map: sharper, as it is, blunter; exact 0 and 1 stay."""
    made = [p**power for power in (0.5, 1.0, 2.0)]
    return [q / q.sum(axis=0, keepdims=True) for q in made]


def units_of(kind: str, num_cases: int, depth: int = SHAPE[2]) -> list[UnitId]:
    cases = [CaseId(f"case_{i:02d}") for i in range(num_cases)]
    if kind == "volume":
        return [unit_id(c) for c in cases]
    if kind == "patch":
        corners = [(x, y, 0) for x in (0, 6) for y in (0, 6)]
        return [patch_id(c, corner, PATCH) for c in cases for corner in corners]
    return [unit_id(c, z) for c in cases for z in range(depth)]


def blob(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Probabilities of a blurred two-class blob, with voxels of exactly 0 and exactly 1."""
    grid = np.stack(np.meshgrid(*(np.arange(s) - s / 2 for s in shape), indexing="ij"))
    radius = np.sqrt((grid**2).sum(axis=0))
    inside = np.clip((rng.uniform(2, 5) - radius) / rng.uniform(0.5, 3) + 0.5, 0, 1)
    share = np.clip(grid[0] / 3 + 0.5, 0, 1)
    return np.stack([1 - inside, inside * share, inside * (1 - share)]).astype(np.float32)


def world(
    kind: str,
    round_: int = 0,
    num_cases: int = 10,
    num_labeled: int = 6,
    seed: int = 0,
    side: tuple[int, int, int] = SHAPE,
) -> tuple[Pool, StandIn]:
    """A pool and its evidence; `kind` is volume, slice or patch. In round 0 nothing is labeled."""
    rng = np.random.default_rng(seed)
    units = units_of(kind, 3 * num_cases if kind == "volume" else num_cases, side[2])
    frozen = unit_length(rng.standard_normal((len(units), DIM)))
    tuned = unit_length(frozen + 0.3 * rng.standard_normal(frozen.shape))
    views = unit_length(frozen[:, None] + 0.2 * rng.standard_normal((len(units), 4, DIM)))
    shape = {"volume": side, "slice": (*side[:2], 1), "patch": PATCH}[kind]
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
