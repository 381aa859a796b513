"""The win matrix: which arm beats which, at how many budgets (pairwise penalty matrix)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from salearn.report.aggregate import Curve
from salearn.report.blocks import Table
from salearn.report.parts import arm_of
from salearn.stats.bootstrap import nanmean
from salearn.stats.penalty import PenaltyMatrix, penalty_matrix


def win_matrix(curves: Sequence[Curve], higher_is_better: bool = True) -> PenaltyMatrix | None:
    """Paired t-tests over seeds at every common budget, Holm over all pairs and budgets.

    Runs that did not reach every budget are left out. None with fewer than two arms or without a
    common budget.
    """
    shared = set(curves[0].budgets) if curves else set()
    shared = shared.intersection(*(curve.budgets for curve in curves))
    if len(curves) < 2 or not shared:
        return None
    seeds = sorted({run for curve in curves for run in curve.runs})
    runs = {arm_of(curve.keys): _scores(curve, sorted(shared), seeds) for curve in curves}
    if not all(runs.values()):
        return None
    return penalty_matrix(runs, correction="holm", higher_is_better=higher_is_better)


def _scores(
    curve: Curve, budgets: Sequence[int], seeds: Sequence[tuple[int, int]]
) -> dict[int, np.ndarray]:
    """Mean over cases, then classes, after each budget, by the place of the run among all seeds."""
    steps = [curve.budgets.index(budget) for budget in budgets]
    by_class = np.moveaxis(curve.values[steps], 2, -1)
    means = nanmean(nanmean(by_class))
    whole = curve.ran()[steps].all(axis=0) & np.isfinite(means).all(axis=0)
    return {seeds.index(run): means[:, k] for k, run in enumerate(curve.runs) if whole[k]}


def matrix_cells(matrix: PenaltyMatrix, name: str) -> Table:
    """Rows beat columns at this share of budgets; the last row is the mean of each column."""
    numbers = [str(k + 1) for k in range(len(matrix.names))]
    rows = [
        [f"{number}. {arm}", *("·" if i == j else f"{win:.2f}" for j, win in enumerate(line))]
        for i, (number, arm, line) in enumerate(
            zip(numbers, matrix.names, matrix.wins, strict=True)
        )
    ]
    penalty = matrix.penalty()
    rows.append(["penalty (lower is better)", *(f"{penalty[arm]:.2f}" for arm in matrix.names)])
    return Table(
        name=name,
        caption="Win matrix: share of budgets at which the row beats the column",
        headers=["arm", *numbers],
        rows=rows,
        stack=False,
        note=f"Two-sided paired t-tests over seeds, alpha 0.05, Holm. {matrix.note}",
    )
