"""Rows on disk: the same numbers as an array in memory, in a fraction of the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from salearn.features.gather import gathered
from salearn.features.rows import Rows, blank_rows, blocks, open_rows, singles, unit_rows


def some(count: int, dim: int = 24, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, dim)).astype(np.float16)


def test_every_finite_half_becomes_the_same_single() -> None:
    halves = np.arange(2**16, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)].reshape(-1, 4)
    ours, numpys = singles(finite), finite.astype(np.float32)
    assert np.array_equal(ours.view(np.int32), numpys.view(np.int32))  # signs of zeros too


def test_rows_are_what_the_unit_array_is() -> None:
    given = some(9000)
    given[17] = 0
    rows, array = Rows(given), unit_rows(given)
    assert len(rows) == 9000
    assert rows.shape == array.shape
    picked = np.array([5, 17, 8999])
    for part in (slice(4000, 4300), picked, 3):
        assert np.allclose(rows[part], array[part], atol=2e-7)
    other = array[:3].T
    assert np.allclose(rows @ other, array @ other, atol=1e-6)
    assert np.allclose(rows @ array[0], array @ array[0], atol=1e-6)
    assert np.flatnonzero(blank_rows(rows)).tolist() == [17]
    assert np.flatnonzero(blank_rows(array)).tolist() == [17]


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_with_their_row(kind: type, value: float) -> None:
    given: np.ndarray = some(6000).astype(kind)
    given[5001, 3] = value
    for make in (Rows, unit_rows):
        with pytest.raises(ValueError, match=r"\[5001\]"):
            make(given)


def test_rows_are_kept_in_memory_if_half_of_it_is_enough() -> None:
    given = some(100)  # 100 * 24 * 4 = 9600 bytes
    assert isinstance(open_rows(given, 19_200), np.ndarray)
    assert isinstance(open_rows(given, 19_199), Rows)


def test_blocks_are_the_whole_in_order() -> None:
    assert [(part.start, part.stop) for part in blocks(10, 4)] == [(0, 4), (4, 8), (8, 10)]
    assert list(blocks(0)) == []


def test_many_embeddings_go_to_a_nameless_file_as_halves(tmp_path: Path) -> None:
    given = unit_rows(some(50))
    here = gathered(iter(given), 50, tmp_path)
    there = gathered(iter(given), 50, tmp_path, large=4 * 50 * 24 - 1)
    assert here.dtype == np.float32
    assert np.array_equal(here, given)
    assert isinstance(there, np.memmap)
    assert np.array_equal(there, given.astype(np.float16))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="no units"):
        gathered(iter(given[:0]), 0, tmp_path)
