"""Budget curves against what annotation costs: slices, voxels, hours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from salearn.report.figures import Layout
from salearn.report.parts import Part, learner_of
from salearn.report.tables import round_table

if TYPE_CHECKING:
    import pandas as pd

# Column and name of the axis.
AXES = (
    ("cost_slices", "annotated slices with foreground"),
    ("cost_voxels", "annotated foreground voxels"),
    ("cost_hours", "hours of annotation (declared cost model)"),
)


def with_costs(rows: pd.DataFrame, part: Part) -> pd.DataFrame:
    """Rows of a curve table with the mean cost of their runs at each budget, and the arm.

    Adds cost_cases, cost_slices, cost_voxels, cost_seconds, cost_hours and arm; NaN where a run
    recorded no cost.
    """
    import pandas as pd

    costs = round_table(part.runs)
    arm = {run.key: (str(run.factors["strategy"]), learner_of(run.factors)) for run in part.runs}
    costs = costs.assign(
        strategy=[arm[key][0] for key in costs["cell"]],
        learner=[arm[key][1] for key in costs["cell"]],
        budget=costs["num_labeled"],
    )
    names = [name for name in costs.columns if name.startswith("cost_")]
    costs[names] = costs[names].apply(pd.to_numeric)
    keys = ["strategy", "learner", "budget"]
    means = costs.groupby(keys, as_index=False)[names].mean()
    plain = rows.assign(strategy=rows["strategy"].astype(str), learner=rows["learner"].astype(str))
    found = plain.merge(means, on=keys, how="left", sort=False)
    pairs = zip(found["strategy"], found["learner"], strict=True)
    arms = [f"{strategy} x {learner}" for strategy, learner in pairs]
    return found.assign(cost_hours=found["cost_seconds"] / 3600, arm=arms, all="")


def layouts(rows: pd.DataFrame) -> list[Layout]:
    """One narrow layout for each cost that is recorded and differs between points."""
    shown = [
        (column, words)
        for column, words in AXES
        if rows[column].notna().all() and rows[column].nunique() > 1
    ]
    return [
        Layout(lines="arm", panels="all", axis=column, axis_name=words, narrow=True)
        for column, words in shown
    ]
