"""The index against brute force, and clusters that are easy to see."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from salearn.features.index import IndexSettings, VectorIndex, spherical_kmeans, unit_rows


def rows(count: int, dim: int = 8, seed: int = 0) -> np.ndarray:
    return unit_rows(np.random.default_rng(seed).standard_normal((count, dim)))


def test_search_equals_brute_force() -> None:
    z, queries = rows(200), rows(7, seed=1)
    similarity, found = VectorIndex(z).search(queries, 5)
    cosine = queries @ z.T
    assert np.array_equal(found, np.argsort(-cosine, axis=1)[:, :5])
    assert np.allclose(similarity, np.take_along_axis(cosine, found, 1), atol=1e-6)


def test_neighbours_leave_out_the_row_itself_even_among_equal_rows() -> None:
    z = np.vstack([rows(20), np.repeat(rows(1, seed=2), 12, axis=0)])
    similarity, found = VectorIndex(z).neighbours(4)
    assert found.shape == similarity.shape == (32, 4)
    assert not (found[:20] == np.arange(20)[:, None]).any()
    assert np.allclose(similarity[20:], 1, atol=1e-6)
    assert all(len(set(row)) == 4 for row in found.tolist())
    assert VectorIndex(z[:1]).neighbours(0)[0].shape == (1, 0)


def test_vectors_are_scaled_to_length_1_and_zero_rows_match_nothing() -> None:
    index = VectorIndex(np.array([[3.0, 4.0], [0.0, 0.0]]))
    similarity, found = index.search(np.array([[10.0, 0.0]]), 2)
    assert found.tolist() == [[0, 1]]
    assert np.allclose(similarity, [[0.6, 0.0]])  # 3 / 5, and the rule for a zero row


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused_with_their_row(value: float) -> None:
    z = rows(5).copy()
    z[3, 2] = value
    with pytest.raises(ValueError, match=r"rows \[3\]"):
        VectorIndex(z)


def test_wrong_numbers_of_neighbours_are_refused() -> None:
    index = VectorIndex(rows(5))
    for k in (0, 6):
        with pytest.raises(ValueError, match=str(k)):
            index.search(rows(1), k)
    with pytest.raises(ValueError, match="k = 5"):
        index.neighbours(5)
    with pytest.raises(ValueError, match="at least one"):
        VectorIndex(rows(5)[:0])


def test_a_factory_string_gives_an_approximate_index_that_finds_nearly_all() -> None:
    z = rows(2000, 16)
    settings = IndexSettings(factory="IVF16,Flat", nprobe=16)
    found = VectorIndex(z, settings).neighbours(10)[1]
    exact = VectorIndex(z).neighbours(10)[1]
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found, exact, strict=True)])
    assert recall > 0.99
    again = VectorIndex(z, settings).neighbours(10)[1]
    assert np.array_equal(found, again)
    with pytest.raises(ValueError, match="Nonsense"):
        VectorIndex(z, IndexSettings(factory="Nonsense"))


def test_the_thread_count_of_faiss_is_put_back() -> None:
    before = faiss.omp_get_max_threads()
    VectorIndex(rows(50)).search(rows(2), 3)
    assert faiss.omp_get_max_threads() == before


@pytest.mark.parametrize("count", [60, 400])  # scikit-learn below 39 rows a centre, FAISS above
def test_clusters_that_are_far_apart_are_found_and_are_the_same_each_time(count: int) -> None:
    centres = np.eye(4)
    true = np.arange(count) % 4
    noise = np.random.default_rng(0).standard_normal((count, 4))
    z = unit_rows(centres[true] + 0.05 * noise)
    found, cell = spherical_kmeans(z, 4, seed=0)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert len({(a, b) for a, b in zip(true.tolist(), cell.tolist(), strict=True)}) == 4
    again = spherical_kmeans(z, 4, seed=0)
    assert np.array_equal(found, again[0])
    assert np.array_equal(cell, again[1])


def test_equal_rows_may_leave_centres_without_rows() -> None:
    z = np.repeat(rows(2), 5, axis=0)
    centres, cell = spherical_kmeans(z, 4, seed=0)
    assert len(centres) == 4
    assert len(set(cell.tolist())) == 2
    with pytest.raises(ValueError, match="11 clusters"):
        spherical_kmeans(z, 11, seed=0)
