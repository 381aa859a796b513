"""Neighbours and clusters of large pools: near to the exact ones, the same each time, bounded."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest

from salearn.features.clusters import cell_sums, nearest_centre, stream, tree_cells
from salearn.features.index import (
    IndexSettings,
    VectorIndex,
    all_neighbours,
    factory_for,
    spherical_kmeans,
    unit_rows,
)
from salearn.features.neighbours import cell_neighbours, recall
from salearn.features.rows import Rows

MEMORY = 2**31


def walks(count: int, dim: int = 24, seed: int = 0) -> np.ndarray:
    """Volumes of 50 slices that change a little from one to the next."""
    rng = np.random.default_rng(seed)
    start = rng.standard_normal((count // 50, 1, dim))
    steps = rng.standard_normal((count // 50, 50, dim)).cumsum(axis=1)
    return unit_rows((start + 0.15 * steps).reshape(count, dim))


def brute(z: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    cosine = z.astype(np.float64) @ z.T
    np.fill_diagonal(cosine, -2)
    rows = np.argsort(-cosine, axis=1)[:, :k]
    return np.take_along_axis(cosine, rows, axis=1), rows


def test_one_cell_of_everything_is_exact() -> None:
    z = walks(200)
    cosine, rows = cell_neighbours(z, 7, trees=1, cell=200, seed=0)
    true, true_rows = brute(z, 7)
    assert np.array_equal(rows, true_rows)
    assert np.allclose(cosine, true, atol=1e-6)


def test_more_trees_find_more_and_nothing_is_named_twice() -> None:
    z = walks(3000)
    true = brute(z, 10)[1]
    found = [cell_neighbours(z, 10, trees, 150, 0)[1] for trees in (1, 2, 4)]
    shares = [
        np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, true, strict=True)])
        for rows in found
    ]
    assert shares[0] < shares[1] < shares[2]
    assert shares[1] > 0.9
    assert shares[2] > 0.97
    assert all(len(set(row)) == 10 for row in found[1].tolist())
    assert not (found[1] == np.arange(3000)[:, None]).any()
    # the share that is measured on a sample is that of everything, if the sample is everything
    assert recall(z, found[1], 3000, 0) == pytest.approx(shares[1], abs=1e-3)


def test_the_same_seed_gives_the_same_neighbours_on_disk_and_in_memory() -> None:
    given = walks(2000).astype(np.float16)
    array, rows = unit_rows(given), Rows(given)
    first = cell_neighbours(array, 5, 2, 100, 3)
    again = cell_neighbours(array, 5, 2, 100, 3)
    assert np.array_equal(first[1], again[1])
    on_disk = cell_neighbours(rows, 5, 2, 100, 3)
    assert np.mean(on_disk[1] == first[1]) > 0.99
    assert np.allclose(on_disk[0], first[0], atol=2e-2)


def test_rows_that_are_all_alike_do_not_make_one_huge_cell() -> None:
    z = np.repeat(walks(50)[:1], 2000, axis=0)
    cells = tree_cells(z, 100, 0, least=6)
    assert sorted(np.concatenate(cells).tolist()) == list(range(2000))
    assert max(map(len, cells)) <= 206
    cosine, rows = cell_neighbours(z, 5, 1, 100, 0)
    assert np.allclose(cosine, 1, atol=1e-6)
    assert (rows >= 0).all()


def test_large_pools_are_searched_approximately_and_the_log_says_how_well(
    caplog: pytest.LogCaptureFixture,
) -> None:
    z = walks(1500)
    given = IndexSettings(exact_rows=1000, cell=100)
    with caplog.at_level(logging.INFO):
        cosine, _ = all_neighbours(z, 10, given)
    assert "recall" in caplog.text
    exact, _ = all_neighbours(z, 10, replace(given, exact_rows=1500))
    assert np.abs(cosine.mean(axis=1) - exact.mean(axis=1)).mean() < 0.01
    with pytest.raises(ValueError, match=r"index\.memory"):
        all_neighbours(np.tile(z, (30, 1)), 20, replace(given, memory=2**20))


@pytest.mark.parametrize(
    ("count", "dim", "memory", "factory"),
    [
        (10_000, 256, MEMORY, "Flat"),
        (100_000, 256, MEMORY, "IVF1265,SQ8"),  # 4 sqrt(1e5) = 1264.9
        (1_000_000, 256, MEMORY, "IVF4000,SQ8"),
        (10_000_000, 256, MEMORY, "IVF65536_HNSW32,PQ64"),
        (100_000_000, 256, 2**35, "IVF262144_HNSW32,PQ64"),
        (40_000, 256, 2**24, "IVF625_HNSW32,PQ64"),  # 41 MB do not fit into 8, nor do 10.6
        (40_000, 256, 2**25, "IVF625,SQ8"),  # 10.6 MB fit into 16; 40 000 / 64 lists
    ],
)
def test_the_index_is_chosen_by_rows_and_memory(
    count: int, dim: int, memory: int, factory: str
) -> None:
    assert factory_for(count, dim, memory) == factory


@pytest.mark.parametrize(
    ("memory", "lowest"),
    [(2**31, 1.0), (2**21, 0.95), pytest.param(2**20, 0.5, marks=pytest.mark.slow)],
)
def test_the_chosen_index_finds_nearly_all(memory: int, lowest: float) -> None:
    z = walks(7500, 32)  # 960 kB as float32, 300 kB as one byte a number
    made = VectorIndex(z, IndexSettings(memory=memory if memory > 2**20 else 2**20))
    if memory == 2**20:
        made = VectorIndex(z, IndexSettings(factory="IVF60_HNSW32,PQ8", nprobe=16))
    rows = made.search(z[::50], 10)[1]
    cosine = z[::50].astype(np.float64) @ z.T
    true = np.argsort(-cosine, axis=1)[:, :10]
    share = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows, true, strict=True)])
    assert share >= lowest


def test_a_streamed_pass_is_mini_batch_k_means_by_hand() -> None:
    z = unit_rows(np.array([[1, 0], [0.8, 0.6], [0, 1], [-0.6, 0.8]]))
    centres = unit_rows(np.array([[1.0, 0.1], [0.0, 1.0]]))
    # rows 0 and 1 are nearest to the first centre, 2 and 3 to the second; weight 1 each:
    # (0.995, 0.0995) + (1, 0) + (0.8, 0.6) = (2.795, 0.6995); (0, 1) + (0, 1) + (-0.6, 0.8)
    expected = unit_rows(np.array([[2.79504, 0.69950], [-0.6, 2.8]]))
    assert np.allclose(stream(z, centres, 1, weight=1.0), expected, atol=1e-5)
    assert np.array_equal(nearest_centre(z, centres), [0, 0, 1, 1])
    assert np.allclose(cell_sums(z, np.array([1, 1, 0, 1]), 3), [z[2], z[0] + z[1] + z[3], [0, 0]])


def test_clusters_of_a_sample_and_a_stream_are_those_of_everything() -> None:
    true = np.arange(6000) % 5
    noise = 0.1 * np.random.default_rng(0).standard_normal((6000, 16))
    given = (np.eye(16)[true] + noise).astype(np.float16)
    for rows in (unit_rows(given), Rows(given)):  # 5 * 256 rows are drawn
        _, cell = spherical_kmeans(rows, 5, seed=1, passes=1)
        assert len({(a, b) for a, b in zip(true.tolist(), cell.tolist(), strict=True)}) == 5
