"""The report of runs and studies: tables, figures and one page that says what they support."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from salearn.report.adaptation import TITLE as ARMS
from salearn.report.adaptation import arm_lines
from salearn.report.aggregate import CurveSettings
from salearn.report.facts import compared_rows, provenance_lines
from salearn.report.figures import NAMES, UNITS, Factor, Layout, budget_figure
from salearn.report.page import write_page
from salearn.report.parts import BASES, OTHER, Part, Report, make_report, parts_of
from salearn.report.ranking import ranking_blocks
from salearn.report.runs import read_runs
from salearn.report.sections import slug_of
from salearn.report.tables import metric_rows, round_table, write_table
from salearn.report.text import best_lines, cell_lines, curve_lines, markdown, verdicts
from salearn.store import write_text

NO_RUN = "No run could be read; see Cells."


def write_report(
    folders: Sequence[Path], out: Path, how: CurveSettings | None = None
) -> dict[str, Any]:
    """Read all runs below the folders; write tables, figures, summary.md and report.html to `out`.

    Returns:
        {"summary": the page as Markdown, "paths": name -> path of each file written, "rows": one
        per cell, round, split, stage, class and metric, "cells": one per cell with its status}.

    Raises:
        ConfigError: a folder does not exist, or there is no run below any.
    """
    report = make_report(read_runs(folders), how or CurveSettings())
    rows = metric_rows(report.found.runs)
    paths = _write_tables(report, rows, out)
    for part in parts_of(report):
        paths |= _draw(part, report.how, out)
    paths |= write_page(report, out, paths)
    summary = render(report, paths)
    paths["summary"] = out / "summary.md"
    write_text(paths["summary"], summary)
    cells = [dict(cell) for cell in report.found.cells]
    return {"summary": summary, "paths": paths, "rows": rows, "cells": cells}


def _write_tables(report: Report, rows: list[dict[str, Any]], out: Path) -> dict[str, Path]:
    import pandas as pd

    frames = {
        "cells": pd.DataFrame(report.found.cells),
        "cases": report.cases,
        "metrics": pd.DataFrame(rows),
        "rounds": round_table(report.found.runs),
        "curve": report.curve,
        **{f"minus_{BASES[factor]}": table for factor, table in report.differences.items()},
    }
    paths: dict[str, Path] = {}
    for name, frame in frames.items():
        if not frame.empty:
            written = write_table(frame, out / name)
            paths |= {f"{name}.{kind}": path for kind, path in written.items()}
    return paths


def _draw(part: Part, how: CurveSettings, out: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    slug = slug_of(part)
    for factor, base in BASES.items():
        layout = Layout(lines=factor, panels=OTHER[factor])
        jobs = [(f"curve_by_{factor}_{slug}", part.curve, layout)]
        if not part.differences[factor].empty:
            delta = Layout(lines=factor, panels=OTHER[factor], difference=True)
            jobs.append((f"minus_{base}_{slug}", part.differences[factor], delta))
        for name, table, shape in jobs:
            rows = table[table["metric"] == how.metrics[0]]
            if not rows.empty:
                written = budget_figure(rows, out / "figures" / name, shape, how)
                paths |= {f"figures/{name}.{kind}": path for kind, path in written.items()}
    return paths


def render(report: Report, paths: dict[str, Path]) -> str:
    """The page: what was compared, the curves, what the differences support, what weakens it."""
    rows = compared_rows(report)
    text = markdown(["what was compared", ""], rows) if rows else NO_RUN
    blocks = ["# Annotation-budget report", text]
    for part in parts_of(report):
        blocks += [f"## {part.dataset}", *_part_blocks(part, report.how)]
    blocks += ["## Warnings", "\n".join(f"- {line}" for line in report.warnings) or "None."]
    if lost := cell_lines(report.found.cells):
        blocks += ["## Cells", "Not done, or not used:", lost]
    blocks += ["## Files", "\n".join(f"- `{name}`" for name in sorted(paths))]
    blocks += ["## Provenance", "\n".join(f"- {line}" for line in provenance_lines(report))]
    return "\n\n".join(blocks) + "\n"


def _part_blocks(part: Part, how: CurveSettings) -> Iterator[str]:
    unit = UNITS.get(part.unit, "units")
    if arms := arm_lines(part.runs, how, slug_of(part)):
        yield f"### {ARMS}"
        yield from (line.replace("### ", "#### ", 1) for line in arms)
    for metric in how.metrics:
        name = NAMES.get(metric, metric)
        yield f"### {name} on test cases, stage {part.stage}, mean over classes"
        over = " or ".join(sorted(set(part.curve["interval_over"])))
        yield (
            f"Mean over seeds of the mean over cases, by annotated {unit}; "
            f"{how.level:.0%} bootstrap intervals over {over}. AUBC: area on the axis of rounds."
        )
        yield curve_lines(part.mean(part.curve, metric))
    first = how.metrics[0]
    yield f"### Best {NAMES.get(first, first)} at each budget"
    yield "The best of several is flattered by chance; read it with the intervals that reach it."
    yield best_lines(part.mean(part.curve, first))
    yield from ranking_blocks(part, how)
    for factor, base in BASES.items():
        yield from _difference_blocks(part, factor, base, first)


def _difference_blocks(part: Part, factor: Factor, base: str, metric: str) -> Iterator[str]:
    name = NAMES.get(metric, metric)
    yield f"### {name} minus {base} (same {OTHER[factor]}), paired by seeds and case"
    table = part.differences[factor]
    if table.empty:
        yield f"Nothing to compare: no arm shares seeds and {OTHER[factor]} with {base}."
        return
    rows = part.mean(table, metric)
    yield curve_lines(rows, sign=True)
    yield "\n".join(verdicts(rows, factor))
