"""Paired differences of all arms to their baselines, as one family of tests, and their forest."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from salearn.report.aggregate import Curve, CurveSettings, difference, distinct_runs, name_of
from salearn.report.blocks import Table
from salearn.report.figures import BASE_COLOUR, COLOURS, NAMES, NARROW, STYLE, Factor
from salearn.report.parts import BASES, Part, arm_of
from salearn.stats.bootstrap import ENOUGH_SEEDS, FEW_CLUSTERS
from salearn.stats.hierarchical import compare_methods
from salearn.stats.multiplicity import family
from salearn.stats.refuse import RefusedTest
from salearn.stats.result import Result

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ALPHA = 0.05
AREA = "AUBC"


def forest_table(part: Part, how: CurveSettings) -> pd.DataFrame:
    """Differences of the area and of the last budget, mean over classes, first metric.

    One row per arm, baseline and quantity; paired by seeds and cases, hierarchical bootstrap. All
    rows are one family for Holm. A comparison on one seed has no p-value: it compares two trained
    models, not two methods. (For strategies the seeds are the draw seeds.)
    """
    import pandas as pd

    rows, results = [], []
    for head, gaps, draws in _pairs(part, how.metrics[0]):
        seeds = len(set(draws)) if head["factor"] == "strategy" else len(draws)
        seeds = min(seeds, head.pop("distinct"))
        try:
            result = compare_methods(
                gaps, np.zeros_like(gaps), draws, replicates=how.replicates, seed=how.seed,
                level=how.level,
            )  # fmt: skip
        except RefusedTest:
            continue
        claims = seeds > 1 and gaps.shape[1] >= FEW_CLUSTERS
        results.append(result if claims else replace(result, p_value=math.nan))
        rows.append(head | {"seeds": seeds, "n_runs": len(draws), "n_cases": gaps.shape[1]})
    found = family(results, ALPHA)
    return pd.DataFrame([row | _facts(r, row) for row, r in zip(rows, found, strict=True)])


def _facts(result: Result, row: dict[str, Any]) -> dict[str, Any]:
    low, high = result.interval or (math.nan, math.nan)
    return {
        "estimate": result.estimate,
        "low": low,
        "high": high,
        "p": result.p_value,
        "p_holm": result.details["p_holm"],
        "verdict": _verdict(result, row),
        "note": result.note,
    }


def _verdict(result: Result, row: dict[str, Any]) -> str:
    kind = "draw seed" if row["factor"] == "strategy" else "seed"
    if row["seeds"] < 2:
        return f"no claim: 1 {kind}"
    if math.isnan(result.p_value):
        return f"no claim: {row['n_cases']} test cases"
    if result.details["p_holm"] > ALPHA:
        return "undecided"
    found = "higher" if result.estimate > 0 else "lower"
    return found if row["seeds"] >= ENOUGH_SEEDS else f"{found}; {row['seeds']} {kind}s, a hint"


def _pairs(part: Part, metric: str) -> Iterator[tuple[dict[str, Any], np.ndarray, list[int]]]:
    curves = part.curves_for(metric)
    by_name = {name_of(curve): curve for curve in curves}
    for factor, base in BASES.items():
        for curve in curves:
            other = by_name.get(name_of(curve, {factor: base}))
            pair = difference(curve, other) if other and other is not curve else None
            if pair is not None:
                distinct = distinct_runs(pair, curve, other or curve)
                for head, gaps, draws in _quantities(pair, factor, base):
                    yield head | {"distinct": distinct}, gaps, draws


def _quantities(
    pair: Curve, factor: Factor, base: str
) -> Iterator[tuple[dict[str, Any], np.ndarray, list[int]]]:
    head = {"factor": factor, "arm": arm_of(pair.keys), "against": base, "metric": pair.metric}
    whole = np.asarray(pair.ran().all(axis=0))
    last = pair.ran()[-1]
    if whole.any() and len(pair.budgets) > 1:
        yield head | {"quantity": AREA}, area(pair.values[:, whole]), _draws(pair, whole)
    if last.any():
        place = f"at {pair.budgets[-1]}"
        yield head | {"quantity": place}, pair.values[-1][last], _draws(pair, last)


def area(values: np.ndarray) -> np.ndarray:
    """Area on the axis of rounds of each run, case and class; axes "budget run case class"."""
    return np.asarray(np.trapezoid(values, axis=0) / (len(values) - 1))


def _draws(curve: Curve, chosen: np.ndarray) -> list[int]:
    return [draw for (draw, _), use in zip(curve.runs, chosen, strict=True) if use]


def forest_cells(table: pd.DataFrame, name: str) -> Table:
    """The forest in words."""
    rows = [
        [
            f"{row['arm']} minus {row['against']}",
            row["quantity"],
            f"{row['estimate']:+.3f} [{row['low']:+.3f}, {row['high']:+.3f}]",
            _p(row["p"]),
            _p(row["p_holm"]),
            str(row["seeds"]),
            row["verdict"],
        ]
        for _, row in table.iterrows()
    ]
    return Table(
        name=name,
        caption="Paired differences, mean over classes",
        headers=["comparison", "quantity", "difference [interval]", "p", "p (Holm)", "seeds",
                 "verdict"],
        rows=rows,
        fixed=2,
        note="Hierarchical bootstrap over seeds and cases, paired by both; Holm over all rows.",
    )  # fmt: skip


def _p(value: float) -> str:
    if math.isnan(value):
        return "-"
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def forest_drawing(table: pd.DataFrame) -> Figure:
    """One line per comparison: difference and interval; filled where Holm's p is at most 0.05."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    groups = [(words, part) for words, part in table.groupby(["quantity", "factor"], sort=False)]
    height = 0.42 * len(table) + 0.3 * len(groups) + 0.8
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(NARROW, height))
        top, bottom = 1 - 0.1 / height, 0.55 / height
        figure.subplots_adjust(left=0.05, right=0.97, top=top, bottom=bottom)
        ax = figure.subplots()
        _rows(ax, [(str(q), str(f), part) for (q, f), part in groups])
        metric = str(table["metric"].iloc[0])
        ax.set_xlabel(f"difference of {NAMES.get(metric, metric)}")
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
    return figure


def _rows(ax: Axes, groups: Sequence[tuple[str, str, pd.DataFrame]]) -> None:
    ax.axvline(0, color=BASE_COLOUR, linewidth=1)
    y, place = 0.0, ax.get_yaxis_transform()
    for k, (quantity, factor, part) in enumerate(groups):
        title = f"{quantity}, against {BASES[factor]}"  # type: ignore[index]
        ax.text(0, y, title, transform=place, fontweight="bold", fontsize=9, va="center")
        y -= 0.7
        for _, row in part.iterrows():
            colour = COLOURS[list(BASES).index(factor) % len(COLOURS)]  # type: ignore[arg-type]
            face = colour if row["p_holm"] <= ALPHA else "white"
            ax.text(0, y, row["arm"], transform=place, fontsize=9, va="center")
            ax.plot([row["low"], row["high"]], [y - 0.42] * 2, color=colour, linewidth=1.6)
            ax.plot([row["estimate"]], [y - 0.42], "o", color=colour, markerfacecolor=face)
            y -= 1.0
        y -= 0.1 * (k < len(groups) - 1)
    ax.set_ylim(y + 0.3, 0.5)
    ax.set_yticks([])
