"""One pick per k-means cell: the most useful of its most typical units (URDS-style)."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from salearn.features.index import spherical_kmeans
from strategies.greedy import Batch
from strategies.limits import Limits
from strategies.terms import nearest_labeled


def pick_cells(
    z: Float[np.ndarray, "unit dim"],
    labeled: Float[np.ndarray, "labeled dim"],
    u: Float[np.ndarray, " unit"],
    rho: Float[np.ndarray, " unit"],
    n: int,
    typical: int,
    limits: Limits,
    rng: np.random.Generator,
) -> Batch:
    """n cells; from each, in order of usefulness, the largest u among the `typical` largest rho.

    Cells that give nothing (empty, or barred by the limits) are made up for by a second unit of
    others. Scores are u.
    """
    if n == 0:
        return Batch(rows=np.zeros(0, dtype=np.int64), scores=u)
    _, cell = spherical_kmeans(z, n, seed=int(rng.integers(2**31)))
    order = rng.permutation(len(z))
    nearest = nearest_labeled(z, labeled).copy()
    picks: list[int] = []
    everything = slice(0, len(z))
    while len(picks) < n:
        free = limits.free(everything, nearest)
        heads = _heads(cell, free, u, rho, order, typical)
        if not heads and not limits.relax():
            raise ValueError("no unit is left to pick")
        for row in heads[: n - len(picks)]:
            if limits.free(slice(row, row + 1), nearest[row : row + 1])[0]:
                picks.append(row)
                limits.take(row)
                np.maximum(nearest, z @ z[row], out=nearest)
    return Batch(rows=np.array(picks, dtype=np.int64), scores=u)


def _heads(
    cell: np.ndarray,
    free: np.ndarray,
    u: np.ndarray,
    rho: np.ndarray,
    order: np.ndarray,
    typical: int,
) -> list[int]:
    """The best free unit of each cell, most useful first."""
    heads: list[int] = []
    for code in np.unique(cell[free]):
        rows = np.flatnonzero(free & (cell == code))
        rows = rows[np.lexsort((order[rows], -rho[rows]))][:typical]
        heads.append(int(rows[np.lexsort((order[rows], -u[rows]))][0]))
    return sorted(heads, key=lambda row: (-u[row], order[row]))
