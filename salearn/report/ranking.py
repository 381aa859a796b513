"""Who is ahead, and at what price: areas, win matrices, costs, for the page and for Markdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from salearn.report.aggregate import CurveSettings
from salearn.report.areas import area_cells, reference
from salearn.report.blocks import Table
from salearn.report.costs import with_costs
from salearn.report.matrix import matrix_cells, win_matrix
from salearn.report.parts import Part, learner_of
from salearn.report.tables import ordered
from salearn.report.text import arms, markdown

if TYPE_CHECKING:
    import pandas as pd

MOST_ARMS = 12  # of a win matrix over several learners; above, each learner has its own


def win_tables(part: Part, metric: str, slug: str) -> list[Table]:
    """The win matrix of all arms; with many arms one for each learner, so that it can be read."""
    higher = not metric.endswith(("_mm", "_vox"))
    curves = part.curves_for(metric)
    learners = ordered({learner_of(curve.keys) for curve in curves})
    if len(curves) <= MOST_ARMS or len(learners) == 1:
        matrix = win_matrix(curves, higher_is_better=higher)
        return [] if matrix is None else [matrix_cells(matrix, f"wins_{slug}")]
    found = []
    for k, learner in enumerate(learners):
        alike = [curve for curve in curves if learner_of(curve.keys) == learner]
        matrix = win_matrix(alike, higher_is_better=higher)
        if matrix is not None:
            found.append(matrix_cells(matrix, f"wins_{slug}_{k + 1}"))
    return found


def cost_cells(part: Part, rows: pd.DataFrame, name: str) -> Table:
    """What each arm cost at its last budget: declared annotation, and CPU time of the runs.

    `rows`: mean over classes of one metric, with costs.
    """
    seconds: dict[tuple[str, str], list[float]] = {}
    for run in part.runs:
        arm = (str(run.factors["strategy"]), learner_of(run.factors))
        seconds.setdefault(arm, []).append(run.cpu_seconds())
    lines = []
    for names, table in arms(rows):
        last = table.sort_values("budget").iloc[-1]
        spent = [_short(float(last[f"cost_{key}"])) for key in ("slices", "voxels", "hours")]
        cpu = _short(float(np.mean(seconds.get(names, [np.nan]))))
        lines.append([*names, str(last["budget"]), *spent, cpu])
    return Table(
        name=name,
        caption="Cost at the last budget, mean over seeds",
        headers=["strategy", "learner", "annotated", "slices", "voxels", "hours (declared)",
                 "CPU-s of a run"],
        rows=lines,
        fixed=2,
        note="CPU time is what the run computed itself; what another run had made was free.",
    )  # fmt: skip


def _short(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def ranking_blocks(part: Part, how: CurveSettings) -> Iterator[str]:
    """Areas, win matrices and costs as Markdown, for the printed summary."""
    metric = how.metrics[0]
    rows = with_costs(part.mean(part.curve, metric), part)
    full, _ = reference(part, rows, how)
    tables = [area_cells(rows, "areas", full), *win_tables(part, metric, "wins"),
              cost_cells(part, rows, "costs")]  # fmt: skip
    for table in tables:
        yield f"### {table.caption}"
        yield markdown(table.headers, table.rows)
        if table.note:
            yield table.note
