"""Embedding rows of many units as one array: in memory, or as float16 in a nameless file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import Float

LARGE = 2**28  # bytes as float32 above which rows go to disk


def gathered(
    rows: Iterable[Float[np.ndarray, " dim"]], count: int, folder: Path, large: int = LARGE
) -> Float[np.ndarray, "unit dim"]:
    """`count` rows as one array: float32, or mapped float16 if that takes more than `large`.

    The file lies in `folder` under no name and goes when the map goes.

    Raises:
        ValueError: there are no rows.
    """
    left = iter(rows)
    first = next(left, None)
    if first is None:
        raise ValueError("no units: there are no embeddings to bring together")
    shape = (count, len(first))
    if 4 * count * len(first) <= large:
        return np.stack([first, *left])
    with tempfile.TemporaryFile(dir=folder) as handle:
        table = np.memmap(handle, dtype=np.float16, mode="w+", shape=shape)
    table[0] = first
    for i, row in enumerate(left, start=1):
        table[i] = row
    return table
