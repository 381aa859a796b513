"""A made-up pool of slices on disk, and what a strategy may ask about it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from salearn.cases import Pool, UnitId
from salearn.features.rows import unit_rows

DIM = 256
CHUNK = 100_000


def trajectories(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors like those of slices: a random walk of 100 steps in each volume."""
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((count // 100, 1, DIM), dtype=np.float32)
    walk = rng.standard_normal((count // 100, 100, DIM), dtype=np.float32).cumsum(axis=1)
    rows = (start + np.float32(0.15) * walk).reshape(count, DIM)
    unit: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


@dataclass
class Stored:
    """Frozen and adapted embeddings as memory-mapped float16; row 0 is labeled, in round 1.

    Nothing is trained, so a hybrid query is one of embeddings alone.
    """

    count: int
    round: int = 1
    adapted: bool = True
    trained: bool = False
    folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)

    def __post_init__(self) -> None:
        for name, seed in (("frozen", 0), ("adapted", 1)):
            made = np.lib.format.open_memmap(
                self._path(name), mode="w+", dtype=np.float16, shape=(self.count, DIM)
            )
            rng = np.random.default_rng(seed)
            for start in range(0, self.count, CHUNK):
                rows = trajectories(min(CHUNK, self.count - start), start)
                if name == "adapted":
                    size = rng.uniform(0, 0.02, (len(rows), 1)).astype(np.float32)
                    rows = rows + size * rng.standard_normal(rows.shape, dtype=np.float32)
                made[start : start + CHUNK] = rows
            made.flush()
        _ = self.units  # a million names take a second: not in the time of who asks first

    @cached_property
    def units(self) -> tuple[UnitId, ...]:
        """Names in the order of the rows, 100 slices a volume."""
        return tuple(UnitId(f"{i // 100:06d}@{i % 100:03d}") for i in range(self.count))

    @property
    def pool(self) -> Pool:
        """The first unit is labeled."""
        return Pool(labeled=self.units[:1], unlabeled=self.units[1:])

    def embeddings(self, units: Sequence[UnitId], adapted: bool = False) -> np.ndarray:
        rows = self.rows("adapted" if adapted else "frozen")
        return rows[:1] if len(units) == 1 else rows[1:]

    def rows(self, name: str) -> np.ndarray:
        """The file, not read yet."""
        found: np.ndarray = np.load(self._path(name), mmap_mode="r")
        return found

    def plain(self, name: str) -> np.ndarray:
        """The same as float32 of unit length, for others."""
        return unit_rows(self.rows(name))

    def picked(self, units: Sequence[UnitId]) -> list[int]:
        """Row numbers of units."""
        return [100 * int(unit[:6]) + int(unit[7:]) for unit in units]

    def _path(self, name: str) -> Path:
        return Path(self.folder.name) / f"{name}.npy"
