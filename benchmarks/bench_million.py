"""Choosing 100 of 1e6 slices: `bench_select --million`, as a benchmark of its own (4 CPU-min)."""

from benchmarks.bench_select import million
from benchmarks.common import emit, one_thread

rows = million

if __name__ == "__main__":
    with one_thread(torch=False):
        emit(rows())
