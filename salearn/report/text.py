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


def _interval(row: Any, sign: bool, names: Sequence[str] = ("mean", "low", "high")) -> str:
    mean, low, high = (number(float(row[name]), row["metric"], sign) for name in names)
    return f"{mean} [{low}, {high}]"


def curve_lines(table: pd.DataFrame, sign: bool = False) -> str:
    """One row per arm, one column per budget, then the area under the budget curve.

    The table holds one data set, split, stage, metric and class. Points over fewer seeds than the
    fullest of the table are marked with their number of seeds.
    """
    budgets = sorted(set(table["budget"]))
    full = int(table["n_seeds"].max())
    rows = []
    for names, part in _arms(table):
        at = {row["budget"]: row for _, row in part.iterrows()}
        cells = [_point(at.get(budget), full, sign) for budget in budgets]
        area = _interval(part.iloc[0], sign, ("aubc", "aubc_low", "aubc_high"))
        rows.append([*names, *cells, area])
    return markdown(["strategy", "learner", *map(str, budgets), "AUBC"], rows)


def _arms(table: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    """The rows of each strategy x learner, baselines first."""
    for strategy in ordered(table["strategy"]):
        for learner in ordered(table["learner"]):
            part = table[(table["strategy"] == strategy) & (table["learner"] == learner)]
            if not part.empty:
                yield (strategy, learner), part


def _point(row: Any, full: int, sign: bool) -> str:
    if row is None:
        return "-"
    short = f" (n={row['n_seeds']})" if row["n_seeds"] < full else ""
    return _interval(row, sign) + short


def best_lines(table: pd.DataFrame) -> str:
    """The best mean at each budget, its interval, and the arms whose intervals reach it."""
    rows = []
    for budget, part in table.groupby("budget"):
        ranked = part.dropna(subset="mean").sort_values("mean", ascending=False)
        if ranked.empty:
            continue
        first = ranked.iloc[0]
        close = [_arm(row) for _, row in ranked.iloc[1:].iterrows() if row["high"] >= first["mean"]]
        rows.append([budget, _arm(first), _interval(first, False), ", ".join(close) or "none"])
    return markdown(["annotated", "best", "mean [interval]", "intervals that reach it"], rows)


def _arm(row: Any) -> str:
    return f"{row['strategy']} x {row['learner']}"


def verdicts(table: pd.DataFrame, factor: str) -> Iterator[str]:
    """What the difference of areas supports, arm by arm, and nothing where seeds are too few."""
    for _, part in _arms(table):
        row = part.iloc[0]
        yield f"- {_arm(row)} against {row['against']}: {_verdict(row, factor)}"


def _verdict(row: Any, factor: str) -> str:
    seeds = row["n_draws"] if factor == "strategy" else row["n_seeds"]
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
