"""Tables of a report as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from salearn.report.tables import ordered
from salearn.stats.bootstrap import ENOUGH_SEEDS

if TYPE_CHECKING:
    import pandas as pd

DIGITS = {"hd95_mm": 2, "assd_mm": 2, "hd95_pooled_mm": 2}


def markdown(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def number(value: float, metric: str, sign: bool = False) -> str:
    """A value with the digits of its metric; "-" where it is undefined."""
    if math.isnan(value):
        return "-"
    return f"{value:{'+' if sign else ''}.{DIGITS.get(metric, 3)}f}"


def interval(row: Any, sign: bool, names: Sequence[str] = ("mean", "low", "high")) -> str:
    """Mean [low, high] of a table row, with the digits of its metric."""
    mean, low, high = (number(float(row[name]), row["metric"], sign) for name in names)
    return f"{mean} [{low}, {high}]"


Cells = tuple[list[str], list[list[str]]]  # headers and rows


def curve_lines(table: pd.DataFrame, sign: bool = False) -> str:
    """`curve_cells` as Markdown."""
    return markdown(*curve_cells(table, sign))


def curve_cells(table: pd.DataFrame, sign: bool = False) -> Cells:
    """One row per arm, one column per budget, then the area under the budget curve.

    The table holds one data set, split, stage, metric and class. Points over fewer seeds than the
    fullest of the table are marked with their number of seeds.
    """
    budgets = sorted(set(table["budget"]))
    full = int(table["n_seeds"].max())
    rows = []
    for names, part in arms(table):
        at = {row["budget"]: row for _, row in part.iterrows()}
        cells = [_point(at.get(budget), full, sign) for budget in budgets]
        area = interval(part.iloc[0], sign, ("aubc", "aubc_low", "aubc_high"))
        rows.append([*names, *cells, area])
    return ["strategy", "learner", *map(str, budgets), "AUBC"], rows


def arms(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each strategy x learner, baselines first."""
    places: dict[tuple[str, str], list[int]] = {}
    names = (table[factor].astype(str) for factor in ("strategy", "learner"))
    for row, pair in enumerate(zip(*names, strict=True)):
        places.setdefault(pair, []).append(row)
    for strategy in ordered(table["strategy"]):
        for learner in ordered(table["learner"]):
            if rows := places.get((strategy, learner)):
                yield (strategy, learner), table.iloc[rows]


def _point(row: Any, full: int, sign: bool) -> str:
    if row is None:
        return "-"
    short = f" (n={row['n_seeds']})" if row["n_seeds"] < full else ""
    return interval(row, sign) + short


def best_lines(table: pd.DataFrame) -> str:
    """`best_cells` as Markdown."""
    return markdown(*best_cells(table))


def best_cells(table: pd.DataFrame) -> Cells:
    """The best mean at each budget, its interval, and the arms whose intervals reach it."""
    rows = []
    for budget, part in table.groupby("budget"):
        ranked = part.dropna(subset="mean").sort_values("mean", ascending=False)
        if ranked.empty:
            continue
        first = ranked.iloc[0]
        others = [row for _, row in ranked.iloc[1:].iterrows()]
        close = [arm_name(row) for row in others if row["high"] >= first["mean"]]
        mean = interval(first, False)
        rows.append([str(budget), arm_name(first), mean, ", ".join(close) or "none"])
    return ["annotated", "best", "mean [interval]", "intervals that reach it"], rows


def arm_name(row: Any) -> str:
    """Strategy and learner of a table row."""
    return f"{row['strategy']} x {row['learner']}"


def verdicts(table: pd.DataFrame, factor: str) -> Iterator[str]:
    """What the difference of areas supports, arm by arm, and nothing where seeds are too few."""
    for _, part in arms(table):
        row = part.iloc[0]
        yield f"- {arm_name(row)} against {row['against']}: {verdict(row, factor)}"


def verdict(row: Any, factor: str) -> str:
    """What the difference of areas in a row of a difference table supports."""
    seeds = row["n_draws"] if factor == "strategy" else row["n_seeds"]
    seeds = min(seeds, row["n_distinct"])
    kind = "draw seed" if factor == "strategy" else "seed"
    if seeds < 2:
        return f"no claim, {int(seeds)} {kind}"
    if math.isnan(row["aubc"]):
        return "no claim, no pair of runs is finished"
    if row["descriptive"]:
        return f"no claim, {int(row['n_cases'])} test cases"
    if row["aubc_low"] > 0 or row["aubc_high"] < 0:
        found = f"{'higher' if row['aubc'] > 0 else 'lower'} AUBC, the interval excludes 0"
        return found if seeds >= ENOUGH_SEEDS else f"{found}; {int(seeds)} {kind}s, so a hint only"
    return "undecided, the interval of the AUBC difference holds 0"


def cell_lines(cells: Sequence[Any]) -> str:
    """The cells that are not done, with the cause."""
    rows = [
        [cell["folder"], cell["status"], f"{cell.get('rounds', 0)}/{cell.get('planned', '?')}",
         str(cell.get("error") or "").replace("|", "/").replace("\n", " ")]
        for cell in cells
        if cell["status"] != "done"
    ]  # fmt: skip
    return markdown(["folder", "status", "rounds", "cause"], rows) if rows else ""
