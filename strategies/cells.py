"""Picks by k-means cell: one of each (URDS-style), or the cells least known first (TypiClust)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from salearn.features.index import spherical_kmeans
from salearn.features.rows import Rows
from strategies.greedy import Batch
from strategies.limits import Limits
from strategies.terms import nearest_labeled


def pick_cells(
    z: Float[np.ndarray, "unit dim"] | Rows,
    labeled: Float[np.ndarray, "labeled dim"] | Rows,
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


def visit_cells(
    cell: Int[np.ndarray, " unit"],
    known: Int[np.ndarray, " labeled"],
    n: int,
    quality: Callable[[np.ndarray], np.ndarray],
    limits: Limits,
    rng: np.random.Generator,
    least: int = 1,
) -> Batch:
    """n picks, each the best of the cell with fewest labeled and picked units, then the largest.

    Equal cells and equal units are ordered by a drawn order.

    Args:
        cell, known: cell of every candidate, and of every labeled unit.
        quality: of the rows of a cell, higher = better; asked once for each cell that is visited.
        least: cells of fewer units, labeled ones included, come last.

    Scores are the qualities; 0 for units of cells that were not visited.
    """
    number = int(max(cell.max(initial=-1), known.max(initial=-1))) + 1
    used = np.bincount(known, minlength=number)
    size = np.bincount(cell, minlength=number) + used
    turn, order = rng.permutation(number), rng.permutation(len(cell))
    scores, visited, picks = np.zeros(len(cell)), set[int](), list[int]()
    by_cell = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[by_cell], np.arange(number + 1))
    while len(picks) < n:
        free = limits.free(slice(0, len(cell)), np.full(len(cell), -1.0, dtype=np.float32))
        there = np.flatnonzero(np.bincount(cell[free], minlength=number))
        if not there.size and not limits.relax():
            raise ValueError("no unit is left to pick")
        if there.size:
            best = np.lexsort((turn[there], -size[there], used[there], size[there] < least))[0]
            code = int(there[best])
            rows = by_cell[starts[code] : starts[code + 1]]
            if code not in visited:
                scores[rows] = quality(rows)
                visited.add(code)
            rows = rows[free[rows]]
            picks.append(int(rows[np.lexsort((order[rows], -scores[rows]))[0]]))
            limits.take(picks[-1])
            used[code] += 1
    return Batch(rows=np.array(picks, dtype=np.int64), scores=scores)
