"""Areas under budget curves on three axes, and the budget that reaches a share of a reference."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from salearn.metrics.curves import aubc, budget_to_target, normalised_aubc
from salearn.metrics.evaluate import OVERLAPS
from salearn.report.aggregate import CurveSettings
from salearn.report.blocks import Table
from salearn.report.parts import Part
from salearn.report.text import arms, number

if TYPE_CHECKING:
    import pandas as pd

SHARES = (0.90, 0.95, 0.99)


def bounded(metric: str) -> bool:
    """Whether the metric lies in 0..1 and more is better, so that a share of it means something."""
    return metric in (*OVERLAPS, "nsd")


def area_cells(rows: pd.DataFrame, name: str, full: float) -> Table:
    """AUBC by round, by annotated unit and by declared seconds, best area by round first.

    The share is the area by round between 0 (nothing predicted) and the reference `full`.

    `rows`: mean over classes of one metric, with the column cost_seconds.
    """
    metric = str(rows["metric"].iloc[0])
    found = [_areas(names, part, metric, full) for names, part in arms(rows)]
    found.sort(key=lambda pair: (math.isnan(pair[0]), -pair[0]))
    return Table(
        name=name,
        caption="Area under the budget curve, test cases, mean over classes",
        headers=[
            "strategy",
            "learner",
            "by round [interval]",
            "by unit",
            "by second",
            "share of reference",
            "runs",
        ],
        rows=[cells for _, cells in found],
        fixed=2,
        note="Areas of the mean curve of the runs that reached every budget, over the length of "
        "the axis: a constant curve gives its value.",
    )


def _areas(
    names: tuple[str, str], part: pd.DataFrame, metric: str, full: float
) -> tuple[float, list[str]]:
    row = part.iloc[0]
    ordered = part.sort_values("budget")
    seconds = [float(value) for value in ordered["cost_seconds"]]
    means = [float(value) for value in ordered["mean"]]
    rising = all(b > a for a, b in pairwise(seconds))
    by_second = aubc(means, seconds) if rising and row["aubc_seeds"] else math.nan
    share = "-"
    if bounded(metric) and full > 0 and math.isfinite(float(row["aubc"])):
        share = f"{normalised_aubc(float(row['aubc']), 0.0, full):.3f}"
    ends = [number(float(row[key]), metric) for key in ("aubc", "aubc_low", "aubc_high")]
    cells = [*names, f"{ends[0]} [{ends[1]}, {ends[2]}]", number(float(row["aubc_cost"]), metric),
             number(by_second, metric), share, str(int(row["aubc_seeds"]))]  # fmt: skip
    return float(row["aubc"]), cells


def reference(part: Part, rows: pd.DataFrame, how: CurveSettings) -> tuple[float, str]:
    """The score that shares are taken of, and in words where it comes from.

    What `how.full` says; else the best arm with the whole pool annotated; else the best point.
    """
    if how.full is not None:
        return how.full, f"full supervision as given ({how.full:.3f})"
    pools = {(run.record.get("split") or {}).get("pool") for run in part.runs}
    whole = rows[rows["budget"].isin(pools)] if part.unit == "volume" else rows.iloc[:0]
    if len(whole):
        best = float(whole["mean"].max())
        return best, f"the best arm with the whole pool annotated ({best:.3f})"
    best = float(rows["mean"].max())
    return best, f"the best point of all arms ({best:.3f}); no run with the whole pool is here"


def target_cells(rows: pd.DataFrame, full: float, words: str, name: str) -> Table:
    """Annotated units at which the mean curve first reaches 90, 95 and 99 % of the reference."""
    lines = [
        [*names, *(_reached(part, share * full) for share in SHARES)] for names, part in arms(rows)
    ]
    return Table(
        name=name,
        caption="Annotated units to reach a share of the reference",
        headers=["strategy", "learner", *(f"{share:.0%} ({share * full:.3f})" for share in SHARES)],
        rows=lines,
        fixed=2,
        note=f"Reference: {words}. Interpolated linearly between budgets; > = not reached.",
    )


def _reached(part: pd.DataFrame, target: float) -> str:
    ordered = part.sort_values("budget")
    budgets: Sequence[Any] = ordered["budget"].tolist()
    found = budget_to_target(ordered["mean"].tolist(), budgets, target)
    if found is None:
        return f">{budgets[-1]}"
    return f"≤{budgets[0]}" if found <= budgets[0] else f"{found:.1f}"
