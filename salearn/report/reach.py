"""Where two arms cross, and how many test cases and seeds would settle their difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from jaxtyping import Float

from salearn.metrics.crossover import crossover
from salearn.report.aggregate import Curve, CurveSettings
from salearn.report.forest import area
from salearn.report.text import Cells
from salearn.stats.components import components
from salearn.stats.hierarchical import difference_replicates
from salearn.stats.power import plan

SEEDS = (1, 2, 3, 5, 10)
MIN_CASES = 2


def complete(curve: Curve) -> tuple[Float[np.ndarray, "budget run case"], list[int]]:
    """Mean over classes of the runs that reached every budget, without undefined cases."""
    runs = np.asarray(curve.ran().all(axis=0))
    table = curve.values[:, runs].mean(axis=3)
    known = np.isfinite(table).all(axis=(0, 1))
    draws = [draw for (draw, _), use in zip(curve.runs, runs, strict=True) if use]
    return table[:, :, known], draws


def crossing(arm: str, curve: Curve, how: CurveSettings) -> dict[str, Any] | None:
    """The four readings of where B meets A, from a curve of B minus A; None: too little to read.

    Source: `salearn.metrics.crossover`.
    """
    table, draws = complete(curve)
    if table.shape[1] == 0 or table.shape[2] < MIN_CASES:
        return None
    drawn = difference_replicates(table, np.zeros_like(table), draws, how.replicates, how.seed)
    found = crossover(curve.budgets, table.mean(axis=(1, 2)), drawn, seeds=len(draws))
    readings = asdict(found.point) | {"supported": found.supported, "chance": found.chance}
    return {"arm": arm, **readings, "words": found.describe()}


def needed(arm: str, curve: Curve, size: float) -> list[dict[str, Any]]:
    """Rows of draw seeds and the test cases with which a difference of `size` is seen (80 %).

    The variation is that of the area under the curves (the mean over rounds), case by case.

    Source: `salearn.stats.power.plan`.
    """
    table, draws = complete(curve)
    if table.shape[1] == 0 or table.shape[2] < MIN_CASES:
        return []
    try:
        parts = components(area(table) if len(table) > 1 else table[0], draws)
    except ValueError:  # draws with different numbers of train seeds
        return []
    rows = plan(size, parts, draws=SEEDS if len(draws) > 1 else SEEDS[:1])
    seen = {"arm": arm, "difference": size, "runs_seen": len(draws)}
    return [seen | row for row in rows]


def power_cells(rows: Sequence[dict[str, Any]]) -> Cells:
    """The rows of `needed` as a table for people."""
    head = ["arm", "difference", "draw seeds", "test cases", "known from"]
    cells = [
        [
            row["arm"],
            f"{row['difference']:g}",
            str(row["draws"]),
            str(row["cases"] or "out of reach: more seeds"),
            f"{row['runs_seen']} runs a side",
        ]
        for row in rows
    ]
    return head, cells
