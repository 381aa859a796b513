"""FAISS keeps one thread count per process: it is set while it works and put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def faiss_threads(count: int) -> Iterator[None]:
    """Inside the block FAISS uses `count` threads."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
