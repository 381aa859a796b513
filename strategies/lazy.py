"""Greedy choice for a gain that only falls as the choice grows: old gains are upper bounds."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from strategies.greedy import Batch
from strategies.limits import Limits


@runtime_checkable
class Objective(Protocol):
    """A monotone submodular function of the rows taken so far."""

    def gains(self) -> Float[np.ndarray, " row"]:
        """What it would gain by each row."""
        ...

    def gain(self, row: int) -> float:
        """What it would gain by this row."""
        ...

    def take(self, row: int) -> None:
        """Add the row."""
        ...


def maximise(
    objective: Objective,
    n: int,
    rows: Int[np.ndarray, " row"],
    total: int,
    limits: Limits,
    rng: np.random.Generator,
    *,
    lazy: bool = True,
) -> Batch:
    """Take n rows, each the one of largest gain; ties by a drawn order.

    Lazy evaluation (Minoux 1978) counts again only the row whose old gain is largest, with the
    picks of the eager rule; the answer is within 1 - 1/e of the best (Nemhauser 1978).

    Args:
        rows: the pool's numbers of the objective's rows, if it knows a sample only; the other
            units of the pool score 0.
        total: units of the pool, which `limits` counts.
    """
    order = rng.permutation(len(rows))
    old, picks, values = objective.gains(), list[int](), list[float]()
    for _ in range(n):
        if not lazy:
            old = objective.gains()
        row = _head(objective, old, _free(limits, rows, total), order)
        picks.append(int(rows[row]))
        values.append(float(old[row]))
        objective.take(row)
        limits.take(picks[-1])
    scores = np.zeros(total)
    scores[rows] = objective.gains()
    scores[picks] = values
    return Batch(rows=np.array(picks, dtype=np.int64), scores=scores)


def _head(objective: Objective, old: np.ndarray, free: np.ndarray, order: np.ndarray) -> int:
    """The free row of largest gain; what is counted on the way is entered in `old`."""
    while True:
        top = np.max(old, where=free, initial=-np.inf)
        tied = np.flatnonzero(free & (old == top))
        row = int(tied[order[tied].argmin()])
        old[row] = min(objective.gain(row), top)
        if old[row] == top:
            return row


def _free(limits: Limits, rows: np.ndarray, total: int) -> np.ndarray:
    """Rows that may be taken, rules being relaxed if there is none."""
    far = np.full(total, -1.0, dtype=np.float32)
    while True:
        free: np.ndarray = limits.free(slice(0, total), far)[rows]
        if free.any():
            return free
        if not limits.relax():
            raise ValueError("no unit is left to pick")
