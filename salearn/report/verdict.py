"""What a comparison supports, in one paragraph and one table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from salearn.metrics.evaluate import MEAN
from salearn.report.figures import NAMES
from salearn.report.parts import HEADLINE
from salearn.report.text import Cells, interval, number
from salearn.stats.bootstrap import ENOUGH_SEEDS

if TYPE_CHECKING:
    import pandas as pd

ALPHA = 0.05


def headline(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Test rows of the mean over classes of the first stage that is there, student first."""
    if table.empty:
        return table
    rows = table[(table["split"] == "test") & (table["class"] == MEAN)]
    rows = rows[rows["metric"] == metric]
    stages = sorted(set(rows["stage"]), key=lambda stage: (stage != HEADLINE, stage))
    return rows[rows["stage"] == stages[0]] if stages else rows


def budget_cells(table: pd.DataFrame, metric: str) -> Cells:
    """One row per arm and budget: difference, interval, p-values, and what they rest on."""
    rows = [
        [row["arm"], str(row["budget"]), interval(row, True), _p(row["p"]), _p(row["p_holm"]),
         f"{row['n_seeds']} x {row['n_cases']}"]
        for _, row in headline(table, metric).iterrows()
    ]  # fmt: skip
    return ["arm", "annotated", "difference", "p", "p (Holm)", "seeds x cases"], rows


def _p(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def paragraph(table: pd.DataFrame, metric: str) -> str:
    """The verdict; it claims a difference of methods only from 5 pairs of seeds on."""
    rows = headline(table, metric)
    if rows.empty:
        return "Nothing could be paired, so nothing is known about the difference."
    stage = rows["stage"].iloc[0]
    opening = (
        f"B minus A in {NAMES.get(metric, metric)} of the {stage} on test cases, mean over "
        "classes, paired by seeds and cases."
    )
    parts = [_arm(str(arm), part, metric) for arm, part in rows.groupby("arm", sort=False)]
    return " ".join([opening, *parts, *_limits(rows)])


def _arm(arm: str, part: pd.DataFrame, metric: str) -> str:
    row = part.iloc[0]
    area = "no pair of runs is finished"
    if not math.isnan(row["aubc"]):
        ends = [number(float(row[key]), metric, True) for key in ("aubc", "aubc_low", "aubc_high")]
        area = f"area under the curve {ends[0]} [{ends[1]}, {ends[2]}]"
    return f"{arm}: {area}; {_budgets(part)}."


def _budgets(part: pd.DataFrame) -> str:
    tested = part[part["p_holm"].notna()]
    if tested.empty:
        return "no test is possible"
    clear = tested[tested["p_holm"] <= ALPHA]
    if clear.empty:
        return f"no budget with a difference that Holm's correction leaves (of {len(tested)})"
    found = []
    for word, side in (("higher", clear["mean"] > 0), ("lower", clear["mean"] < 0)):
        budgets = ", ".join(str(budget) for budget in clear.loc[side, "budget"])
        found += (
            [f"B {word} at {budgets} annotated (Holm-adjusted p <= {ALPHA})"] if budgets else []
        )
    return ", ".join(found)


def _limits(rows: pd.DataFrame) -> Iterator[str]:
    """How far the numbers carry."""
    seeds = int(rows[["n_seeds", "n_distinct"]].min(axis=1).max())
    cases = int(rows["n_cases"].min())
    if seeds == 1:
        yield "This compares two trained models on these cases, not two methods: one pair of runs."
    elif seeds < ENOUGH_SEEDS:
        yield f"{seeds} pairs of seeds: a hint about the methods, no claim."
    if rows["descriptive"].any():
        yield f"With {cases} test cases the intervals describe this sample only."
    if not (rows["p_holm"] <= ALPHA).any():
        yield "Where no difference was found, equality was not shown either."
