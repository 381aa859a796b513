"""The report of runs and studies: tables, figures and one page that says what they support."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salearn.metrics.evaluate import MEAN
from salearn.report.aggregate import CurveSettings, curve_table, curves_of, difference_table
from salearn.report.caveats import warnings_of
from salearn.report.figures import NAMES, UNITS, Factor, Layout, budget_figure
from salearn.report.runs import Runs, read_runs
from salearn.report.tables import case_table, metric_rows, round_table, write_table
from salearn.report.text import best_lines, cell_lines, curve_lines, markdown, verdicts
from salearn.store import write_text

if TYPE_CHECKING:
    import pandas as pd

BASES: dict[Factor, str] = {"strategy": "random", "learner": "supervised"}
OTHER: dict[Factor, Factor] = {"strategy": "learner", "learner": "strategy"}
HEADLINE = "student"  # the stage that is named first, fixed before any result is seen


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page and the figures are made from.

    Attributes:
        differences: by factor, paired differences to its baseline (random, supervised).
    """

    found: Runs
    cases: pd.DataFrame
    curve: pd.DataFrame
    differences: dict[Factor, pd.DataFrame]
    how: CurveSettings


def write_report(
    folders: Sequence[Path], out: Path, how: CurveSettings | None = None
) -> dict[str, Any]:
    """Read all runs below the folders; write tables, figures and summary.md to `out`.

    Returns:
        {"summary": the page as Markdown, "paths": name -> path of each file written, "rows": one
        per cell, round, split, stage, class and metric, "cells": one per cell with its status}.

    Raises:
        ConfigError: a folder does not exist, or there is no run below any.
    """
    report = make_report(read_runs(folders), how or CurveSettings())
    rows = metric_rows(report.found.runs)
    paths = _write_tables(report, rows, out)
    for part in _parts(report):
        paths |= _draw(part, report.how, out)
    summary = render(report, paths)
    paths["summary"] = out / "summary.md"
    write_text(paths["summary"], summary)
    cells = [dict(cell) for cell in report.found.cells]
    return {"summary": summary, "paths": paths, "rows": rows, "cells": cells}


def make_report(found: Runs, how: CurveSettings) -> Report:
    """Aggregate runs that were read."""
    cases = case_table(found.runs)
    curves = curves_of(cases, how) if len(cases) else []
    return Report(
        found=found,
        cases=cases,
        curve=curve_table(curves, how),
        differences={
            factor: difference_table(curves, how, factor, base) for factor, base in BASES.items()
        },
        how=how,
    )


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


@dataclass(frozen=True, kw_only=True)
class Part:
    """The headline of one data set and unit: test cases, one stage, all classes and metrics."""

    dataset: str
    unit: str
    stage: str
    curve: pd.DataFrame
    differences: dict[Factor, pd.DataFrame]

    def mean(self, table: pd.DataFrame, metric: str) -> pd.DataFrame:
        """Rows of a table for the mean over classes."""
        return table[(table["class"] == MEAN) & (table["metric"] == metric)]


def _parts(report: Report) -> Iterator[Part]:
    if report.curve.empty:
        return
    for (dataset, unit), curve in report.curve.groupby(["dataset", "unit"], observed=True):
        stages = set(curve["stage"])
        stage = HEADLINE if HEADLINE in stages else sorted(stages)[-1]

        yield Part(
            dataset=str(dataset),
            unit=str(unit),
            stage=stage,
            curve=_headline(curve, str(dataset), str(unit), stage),
            differences={
                name: _headline(table, str(dataset), str(unit), stage)
                for name, table in report.differences.items()
            },
        )


def _headline(table: pd.DataFrame, dataset: str, unit: str, stage: str) -> pd.DataFrame:
    if table.empty:
        return table
    same = (table["dataset"] == dataset) & (table["unit"] == unit) & (table["stage"] == stage)
    return _labelled(table[same & (table["split"] == "test")])


def _labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Variants of a learner as learners of their own, so that no reader takes them for seeds."""
    suffix = table["variant"].astype(str).map(lambda name: f" [{name}]" if name else "")
    return table.assign(learner=table["learner"].astype(str) + suffix)


def _draw(part: Part, how: CurveSettings, out: Path) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    slug = re.sub(r"[^A-Za-z0-9]+", "_", f"{part.dataset}_{part.unit}").strip("_").lower()
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
    blocks = ["# Annotation-budget report", _compared(report)]
    for part in _parts(report):
        blocks += [f"## {part.dataset}", *_part_blocks(part, report.how)]
    warnings = warnings_of(report.found, report.curve)
    blocks += ["## Warnings", "\n".join(f"- {line}" for line in warnings) or "None."]
    if lost := cell_lines(report.found.cells):
        blocks += ["## Cells", "Not done, or not used:", lost]
    blocks += ["## Files", "\n".join(f"- `{name}`" for name in sorted(paths))]
    blocks += ["## Provenance", _provenance(report)]
    return "\n\n".join(blocks) + "\n"


def _compared(report: Report) -> str:
    runs = report.found.runs
    if not runs:
        return "No run could be read; see Cells."
    names = {key: sorted({str(run.factors[key]) for run in runs}) for key in runs[0].factors}
    rows = [
        [key.replace("_", " "), ", ".join(values)] for key, values in names.items() if any(values)
    ]
    budgets = sorted({n for run in runs for n in run.record["budget"]})
    tested = sorted({(run.record.get("split") or {}).get("test", "?") for run in runs}, key=str)
    done = sum(cell["status"] == "done" for cell in report.found.cells)
    rows += [
        ["budgets", ", ".join(map(str, budgets))],
        ["unit", ", ".join(sorted({UNITS.get(str(r.record.get("unit")), "units") for r in runs}))],
        ["test cases", ", ".join(map(str, tested))],
        ["cells done", f"{done} of {len(report.found.cells)}"],
    ]
    return markdown(["what was compared", ""], rows)


def _part_blocks(part: Part, how: CurveSettings) -> Iterator[str]:
    unit = UNITS.get(part.unit, "units")
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


def _provenance(report: Report) -> str:
    runs, how = report.found.runs, report.how
    hashes = sorted({str((run.record.get("split") or {}).get("hash")) for run in runs})
    versions: dict[str, set[str]] = {}
    for run in runs:
        for name, value in (run.record.get("versions") or {}).items():
            versions.setdefault(name, set()).add(str(value))
    used = ", ".join(
        f"{name} {'/'.join(sorted(found))}" for name, found in sorted(versions.items())
    )
    return "\n".join(
        [
            f"- Split hash: {', '.join(hashes) or 'none'}",
            f"- Versions: {used or 'not recorded'}",
            f"- Intervals: percentile, {how.replicates} replicates, level {how.level}, seed "
            f"{how.seed}; train seeds inside draw seeds, crossed with cases; not corrected for "
            "the number of comparisons.",
            f"- Stage of the headline: {HEADLINE}, fixed beforehand; all stages are in curve.csv.",
            "- Empty masks: absent classes are left out and counted; a missed or false class has "
            "Dice 0 and the distance that the metric settings of the run give it.",
        ]
    )
