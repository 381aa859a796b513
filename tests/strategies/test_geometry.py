"""The geometric strategies against second implementations; lazy = eager, disk = memory."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from salearn.cases import Pool, UnitId
from salearn.features.index import IndexSettings
from salearn.features.rows import Rows, unit_rows
from strategies.balls import Balls, radius
from strategies.coreset import CoreSet
from strategies.coverage import Reach, Represented, cover_greedily
from strategies.facility import Facility
from strategies.greedy import greedy, product
from strategies.lazy import maximise
from strategies.limits import Limits
from strategies.medoid import Medoid
from strategies.probcover import ProbCover
from strategies.registry import Strategy, build
from strategies.typiclust import TypiClust, typicality
from tests.strategies.stand_in import StandIn

ROOT = Path(__file__).resolve().parents[2]
SMALL = IndexSettings(memory=2**20)  # rows above 512 kB as float32 stay where they are


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def named(z: np.ndarray, labeled: int = 0, round_: int = 0) -> tuple[Pool, StandIn]:
    """Units u0000, u0001, ... in the order of the rows; the last ones are labeled."""
    units = tuple(UnitId(f"u{i:04d}") for i in range(len(z)))
    evidence = StandIn(frozen=dict(zip(units, z, strict=True)), round=round_)
    rest = len(z) - labeled
    return Pool(labeled=units[rest:], unlabeled=units[:rest]), evidence


def picks(made: Strategy, z: np.ndarray, n: int, labeled: int = 0, seed: int = 0) -> list[int]:
    pool, evidence = named(z, labeled)
    answer = made.select(pool, n, evidence, rng(seed))
    return [int(unit[1:]) for unit in answer.unit_ids]


def groups(sizes: list[int], spread: float = 0.05, dim: int = 12) -> np.ndarray:
    """Clusters around the axes, of these sizes."""
    true = np.repeat(np.arange(len(sizes)), sizes)
    noise = rng(1).standard_normal((len(true), dim))
    return unit_rows(np.eye(dim)[true] + spread * noise)


def random_rows(count: int, dim: int = 6, seed: int = 0) -> np.ndarray:
    return unit_rows(rng(seed).standard_normal((count, dim)))


def test_coreset_takes_the_farthest_each_time() -> None:
    z = random_rows(80)
    found = picks(CoreSet(), z, 12, labeled=3)
    known = list(range(77, 80))
    for row in found:
        distance = np.linalg.norm(z[:, None].astype(float) - z[known], axis=2).min(axis=1)
        assert distance[row] == pytest.approx(distance[:77].max(), abs=1e-5)
        known.append(row)


def test_its_gate_keeps_outliers_for_last() -> None:
    z = np.vstack([groups([30, 30, 30]), random_rows(4, 12, seed=5)])
    assert set(picks(CoreSet(), z, 6)) & {90, 91, 92, 93}
    assert not set(picks(CoreSet(gate=0.1, gate_neighbours=5), z, 6)) & {90, 91, 92, 93}


def test_facility_is_the_greedy_maximum_of_represented_similarity() -> None:
    z = random_rows(14, 3)
    cosine = np.maximum(z.astype(float) @ z.T, 0)

    def objective(chosen: tuple[int, ...]) -> float:
        return float(cosine[:, list(chosen)].max(axis=1).sum())

    found = picks(Facility(neighbours=13), z, 4)
    taken: list[int] = []
    for row in found:
        best = max(objective((*taken, j)) for j in range(14) if j not in taken)
        assert objective((*taken, row)) == pytest.approx(best, abs=1e-5)
        taken.append(row)
    ideal = max(objective(c) for c in combinations(range(14), 4))
    assert objective(tuple(found)) >= (1 - 1 / np.e) * ideal


def numbered(count: int) -> list[UnitId]:
    return [UnitId(f"u{i:04d}") for i in range(count)]


def test_lazy_greedy_takes_what_the_plain_one_takes() -> None:
    z = random_rows(400, 5)
    z[200:220] = z[100:120]  # ties
    weights = rng(2).uniform(0.2, 1, 400)
    lazy, plain = (
        cover_greedily(
            z, z[:3], weights, 40, 399, Limits(numbered(400)), rng(), IndexSettings(), lazy=flag
        )
        for flag in (True, False)
    )
    assert lazy.rows.tolist() == plain.rows.tolist()
    assert np.allclose(lazy.scores, plain.scores, atol=1e-8)
    for flag_rows in (0.7, 0.9):
        first, second = (
            maximise(
                Balls(z, z[:3], flag_rows),
                40,
                np.arange(400),
                400,
                Limits(numbered(400)),
                rng(),
                lazy=flag,
            )
            for flag in (True, False)
        )
        assert first.rows.tolist() == second.rows.tolist()


def test_gains_of_all_rows_are_those_of_each() -> None:
    z = random_rows(120)
    z[7] = 0  # represents nothing and nobody
    sums = Represented(Reach(z, 9, IndexSettings()), np.full(120, 0.3), rng().uniform(0, 1, 120))
    each = np.array([sums.gain(row) for row in range(120)])
    assert np.allclose(sums.gains(), each, atol=2e-9)
    assert each[7] == 0


def test_typiclust_goes_from_cluster_to_cluster_and_takes_the_densest_place() -> None:
    z = groups([40, 30, 20, 10])
    found = picks(TypiClust(), z, 4)
    starts = np.array([0, 40, 70, 90])
    assert [int(np.searchsorted(starts, row, side="right")) - 1 for row in found] == [0, 1, 2, 3]
    distance = np.linalg.norm(z[:40, None].astype(float) - z[:40], axis=2)
    mean = np.sort(distance, axis=1)[:, 1:21].mean(axis=1)  # 20 = half of 40
    assert found[0] == int(mean.argmin())
    # a labeled unit in the largest cluster: it comes last (5 clusters for 4 picks and 1 mask)
    with_mask = np.vstack([z[1:], z[:1]])
    later = [int(np.searchsorted(starts - 1, row, side="right")) - 1
             for row in picks(TypiClust(), with_mask, 3, labeled=1)]  # fmt: skip
    assert 1 in later


def test_typicality_by_hand() -> None:
    z = unit_rows(np.array([[1.0, 0], [0, 1], [-1, 0], [0, -1]]))
    # k = 2 of 4: both neighbours of each lie at sqrt(2)
    rows = np.arange(4)
    assert np.allclose(typicality(z, rows, 20, IndexSettings()), 1 / 2**0.5, atol=1e-4)
    assert typicality(z, rows[:1], 20, IndexSettings()).tolist() == [1.0]


def test_medoid_takes_the_unit_nearest_to_each_centre() -> None:
    z = groups([30, 20, 10])
    found = picks(Medoid(), z, 3)
    for row, part in zip(found, (slice(0, 30), slice(30, 50), slice(50, 60)), strict=True):
        centre = z[part].mean(axis=0)
        assert row == part.start + int((z[part] @ centre).argmax())


def test_probcover_covers_most_with_every_ball() -> None:
    z = random_rows(90, 4)
    delta = 0.6
    near = np.linalg.norm(z[:, None].astype(float) - z, axis=2) <= delta
    left = ~near[85:].any(axis=0)
    found = picks(ProbCover(delta=delta), z[:90], 6, labeled=5)
    # the covered share is counted over unlabeled units
    for row in found:
        gains = (near[:85, :85] & left[:85]).sum(axis=1)
        assert gains[row] == gains.max()
        left &= ~near[row]


def test_the_radius_is_the_largest_at_which_balls_are_pure() -> None:
    z = random_rows(60, 4, seed=3)
    label = (z[:, 0] > 0).astype(np.int64)
    cosine = radius(z, label, 0.8, rng())
    balls = z.astype(float) @ z.T

    def pure(bar: float) -> float:
        return float(np.mean([(label[balls[i] >= bar] == label[i]).all() for i in range(60)]))

    assert pure(cosine) >= 0.8
    assert pure(cosine - 3e-6) < 0.8
    assert radius(z, np.zeros(60, dtype=np.int64), 0.8, rng()) == -1.0


def test_once_all_is_covered_probcover_goes_on_by_lot() -> None:
    z = groups([10, 10])
    found = {tuple(picks(ProbCover(delta=1.0), z, 5, seed=seed)) for seed in range(4)}
    assert len(found) > 1
    assert all(len({row // 10 for row in rows[:2]}) == 2 for rows in found)


@dataclass
class OnDisk(StandIn):
    """Embeddings are memory maps of float16, rows in the order of the units; row 0 is labeled."""

    tables: tuple[np.ndarray, np.ndarray] = (np.zeros((0, 1)), np.zeros((0, 1)))

    def embeddings(self, units: Sequence[UnitId], adapted: bool = False) -> np.ndarray:
        table = self.tables[int(adapted)]
        return table[1:] if len(units) == len(table) - 1 else table[:1]


GEOMETRIC = ("coreset", "facility", "typiclust", "probcover", "medoid", "dkd", "dkd_coverage")


def stored(folder: Path, count: int, dim: int) -> tuple[Pool, OnDisk]:
    """One labeled unit, the others not; two tables on disk."""
    draw = rng()
    centres = draw.standard_normal((40, dim))
    z = centres[draw.integers(40, size=count)] + 0.4 * draw.standard_normal((count, dim))
    for name, moved in (("frozen", 0.0), ("tuned", 0.1)):
        rows = z + moved * draw.uniform(0, 1, (count, 1)) * draw.standard_normal(z.shape)
        np.save(folder / f"{name}.npy", unit_rows(rows).astype(np.float16))
    maps = [np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("frozen", "tuned")]
    units = tuple(UnitId(f"u{i:05d}") for i in range(count))
    evidence = OnDisk(frozen={}, tables=(maps[0], maps[1]), round=1, adapted=True)
    return Pool(labeled=units[:1], unlabeled=units[1:]), evidence


@pytest.mark.parametrize("name", GEOMETRIC)
def test_disk_and_memory_give_the_same_picks(name: str, tmp_path: Path) -> None:
    pool, evidence = stored(tmp_path, 1200, 128)  # 614 kB as float32
    exact = {"index": {"memory": 2**20, "factory": "Flat"}}
    there = build(name, exact).select(pool, 12, evidence, rng(1))
    exact["index"]["memory"] = 2**31
    here = build(name, exact).select(pool, 12, evidence, rng(1))
    same = set(there.unit_ids) & set(here.unit_ids)
    assert len(same) >= (0 if name in {"facility", "dkd_coverage"} else 11)
    assert len(set(there.unit_ids)) == 12


MEMORY = 2**23


def peaks(folder: str) -> dict[str, int]:
    """Bytes at the highest point of a query of each strategy, ids and files left out."""
    pool, evidence = stored(Path(folder), 16_000, 256)  # 16 MB as float32, 8 MB allowed
    found = {}
    for name in ("coreset", "dkd", "typiclust", "facility", "probcover"):
        given = {"index": {"memory": MEMORY, "exact_rows": 2000, "cell": 100}}
        made = build(name, given | ({"rows": 4000} if name == "probcover" else {}))
        tracemalloc.start()
        assert len(set(made.select(pool, 10, evidence, rng()).unit_ids)) == 10
        found[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return found


@pytest.mark.slow
def test_the_declared_memory_is_kept(tmp_path: Path) -> None:
    # in a process of its own: checking of annotations, on while tests run, keeps arrays alive
    code = (
        "import json, sys; from tests.strategies.test_geometry import peaks; "
        "print(json.dumps(peaks(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    names = 400 * 16_000  # ids, scores and masks of the units themselves
    steps = 2**24  # blocks of 4096 rows, and their steps
    assert max(json.loads(done.stdout).values()) < MEMORY + names + steps


def test_greedy_on_disk_is_greedy_in_memory() -> None:
    given = random_rows(5000, 32).astype(np.float16)
    array, rows = unit_rows(given), Rows(given)
    here, there = (
        greedy(z, z[:2], 30, product(np.ones(5000)), Limits(numbered(5000)), rng())
        for z in (array, rows)
    )
    assert here.rows.tolist() == there.rows.tolist()
    assert np.allclose(here.scores, there.scores, atol=2e-6)


def test_a_drawn_part_stands_for_a_large_pool() -> None:
    z = random_rows(3000, 16)
    given = (np.ones(3000), 20, 400, Limits(numbered(3000)), rng())
    batch = cover_greedily(z, z[:0], *given, IndexSettings())
    assert len(set(batch.rows.tolist())) == 20
    assert (batch.scores > 0).sum() <= 401
    little = cover_greedily(z, z[:0], *given[:3], Limits(numbered(3000)), rng(), SMALL)
    assert (little.scores > 0).sum() <= 128  # 128^2 * 32 bytes are half of 1 MiB
