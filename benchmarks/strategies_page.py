"""All strategies of a finished study, written into docs/strategies.md.

python -m benchmarks.strategies_page studies/strategies/report [--page docs/strategies.md]

Reads tables of `salearn report` (cases, cells, curve_costs_*.csv); replaces what stands between
the markers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from benchmarks.common import between
from benchmarks.intervals import alone, minus
from salearn.metrics.curves import aubc
from salearn.report.text import markdown
from salearn.stats.penalty import penalty_matrix
from salearn.stats.ranks import friedman

BEGIN, END = "<!-- begin: benchmarks.strategies -->", "<!-- end: benchmarks.strategies -->"
REFERENCE = "random"


class Curves:
    """Dice of every case (mean over classes) after each budget, of the draws that all arms have."""

    def __init__(self, cases: pd.DataFrame) -> None:
        cases = cases[(cases["split"] == "test") & (cases["stage"] == "student")]
        where = ["strategy", "draw_seed", "num_labeled", "case"]
        mean = cases.groupby(where)["dice"].mean()
        table = mean.unstack("case").unstack("num_labeled").dropna()
        draws = [set(group.index.get_level_values(1)) for _, group in table.groupby("strategy")]
        self.draws = sorted(set.intersection(*draws))
        self.budgets = sorted(set(mean.index.get_level_values("num_labeled")))
        found = {
            name: np.stack([self._table(table, name, draw) for draw in self.draws])
            for name in sorted(set(table.index.get_level_values(0)))
        }
        self.of = dict(sorted(found.items(), key=lambda one: -area(one[1]).mean()))

    def _table(self, table: pd.DataFrame, name: str, draw: int) -> np.ndarray:
        row = table.loc[(name, draw)]
        return np.asarray(row.unstack("num_labeled")[self.budgets].to_numpy())


def area(values: Float[np.ndarray, "run case budget"]) -> Float[np.ndarray, "run case"]:
    """Area under each curve over rounds; the mean of areas is the area of the mean curve."""
    return np.apply_along_axis(lambda curve: aubc(curve.tolist()), 2, values)


def main_table(curves: Curves, costs: pd.DataFrame) -> str:
    """A row a strategy, the largest area first."""
    hours = costs[costs["budget"] == curves.budgets[-1]].groupby("strategy")["cost_hours"].mean()
    heads = ["strategy", *map(str, curves.budgets), "AUBC", "AUBC of each draw",
             f"AUBC minus {REFERENCE}", "hours, declared"]  # fmt: skip
    rows = []
    for name, values in curves.of.items():
        areas = area(values)
        drawn = ", ".join(f"{one:.3f}" for one in areas.mean(axis=1))
        gap = "-" if name == REFERENCE else minus(areas, area(curves.of[REFERENCE]), curves.draws)
        rows.append([name, *(f"{one:.3f}" for one in values.mean(axis=(0, 1))),
                     alone(areas, curves.draws), drawn, gap, f"{hours[name]:.1f}"])  # fmt: skip
    return markdown(heads, rows)


def orders(curves: Curves) -> str:
    """Whether draws agree on an order: Friedman's test and Kendall's W, of areas and budgets."""
    rows = []
    by_draw = np.stack([values.mean(axis=1) for values in curves.of.values()], axis=1)
    areas = np.stack([area(values).mean(axis=1) for values in curves.of.values()], axis=1)
    columns = {"AUBC": areas} | {
        f"Dice at {budget}": by_draw[:, :, k] for k, budget in enumerate(curves.budgets)
    }
    for words, values in columns.items():
        got = friedman(values, unit="seed")
        spread = values.mean(axis=0)
        rows.append([words, f"{got.details['kendall_w']:.2f}", f"{got.p_value:.3f}",
                     f"{got.details['iman_davenport_p']:.3f}", f"{spread.std(ddof=1):.3f}",
                     f"{values.std(axis=0, ddof=1).mean():.3f}"])  # fmt: skip
    heads = ["of", "Kendall's W", "Friedman p", "Iman-Davenport p",
             "SD between strategies", "SD between draws, mean"]  # fmt: skip
    return markdown(heads, rows)


def wins(curves: Curves) -> str:
    """How often a strategy wins and loses: t-tests over draws, with Holm and without.

    A strategy that beats none and is beaten by none is left out.
    """
    runs = {
        name: dict(zip(curves.draws, values.mean(axis=1), strict=True))
        for name, values in curves.of.items()
    }
    holm, plain = (penalty_matrix(runs, correction=how) for how in ("holm", None))
    count, rivals = len(curves.budgets), len(runs) - 1
    rows = []
    for k, name in enumerate(holm.names):
        numbers = [
            round(float(one) * count)
            for one in (holm.wins[k].sum(), holm.wins[:, k].sum(),
                        plain.wins[k].sum(), plain.wins[:, k].sum())
        ]  # fmt: skip
        if any(numbers):
            rows.append([name, *map(str, numbers)])
    pairs = len(runs) * rivals // 2
    said = (
        f"{pairs} pairs at {count} budgets: {pairs * count} paired t-tests over "
        f"{len(curves.draws)} draws; of each strategy at most {rivals * count} wins. {holm.note}"
    )
    heads = ["strategy", "wins, Holm", "losses, Holm", "wins, uncorrected", "losses, uncorrected"]
    return f"{said}\n\n" + markdown(heads, rows)


def write_page(report: Path, page: Path) -> None:
    """Replace the part between the markers of the page."""
    cells = pd.read_csv(report / "cells.csv")
    costs = pd.concat(pd.read_csv(path) for path in sorted(report.glob("curve_costs_*.csv")))
    curves = Curves(pd.read_csv(report / "cases.csv"))
    seconds = cells["cpu_seconds"].sum()
    said = (
        f"{len(curves.of)} strategies, draws {curves.draws}, {len(cells)} cells, "
        f"{seconds:,.0f} CPU-s (what cells share, such as cold starts, is counted once)."
    )
    blocks = [said, main_table(curves, costs), "**Do draws agree on an order?**", orders(curves),
              "**Win matrix, summed over rivals and budgets**", wins(curves)]  # fmt: skip
    between(page, BEGIN, END, blocks)
    print("\n\n".join(blocks))


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.strategies_page")
    parser.add_argument("report", type=Path, help="folder that `salearn report` wrote")
    parser.add_argument("--page", type=Path, default=Path("docs/strategies.md"))
    given = parser.parse_args(words)
    write_page(given.report, given.page)


if __name__ == "__main__":
    main()
