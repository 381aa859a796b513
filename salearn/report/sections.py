"""The sections of one data set: curves, differences, areas, classes, stages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from salearn.report.adaptation import TITLE as ARMS
from salearn.report.adaptation import arm_blocks, arm_frames
from salearn.report.aggregate import CurveSettings
from salearn.report.areas import area_cells, bounded, reference, target_cells
from salearn.report.auc_cells import auc_blocks
from salearn.report.beyond import LEAST, Beyond, beyond_cells, extrapolations
from salearn.report.blocks import Block, Figures, Heading, Picture, Section, Table, Text, svg_uri
from salearn.report.choice import choice_blocks
from salearn.report.costs import layouts, with_costs
from salearn.report.figures import NAMES, UNITS, Factor, Layout, budget_drawing, note, svg
from salearn.report.forest import forest_cells, forest_drawing, forest_table
from salearn.report.gallery import selection_blocks, worst_blocks
from salearn.report.gate import gate_cells, turn_cells
from salearn.report.guards import guard_cells
from salearn.report.parts import BASES, OTHER, Part
from salearn.report.quality import class_cells, gap_cells, pseudo_cells, stage_cells
from salearn.report.ranking import cost_cells, win_tables
from salearn.report.tables import ordered
from salearn.report.text import Cells, best_cells, curve_cells, verdicts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class PartPage:
    """What the page adds for one data set, with what is also written as files.

    Attributes:
        frames: name -> table for CSV and Parquet.
        drawings: name -> figure for PNG, SVG and PDF.
    """

    sections: list[Section]
    frames: dict[str, pd.DataFrame]
    drawings: dict[str, Figure]


def slug_of(part: Part) -> str:
    """Name of a data set and unit in file names and links."""
    return re.sub(r"[^A-Za-z0-9]+", "_", f"{part.dataset}_{part.unit}").strip("_").lower()


def part_page(part: Part, how: CurveSettings, alone: bool = True) -> PartPage:
    """All sections of one data set and unit; titles name it unless it is alone."""
    import pandas as pd

    slug, metric = slug_of(part), how.metrics[0]
    forest = forest_table(part, how)
    drawing = None if forest.empty else forest_drawing(forest)
    rows = with_costs(part.mean(part.curve, metric), part)
    full, words = reference(part, rows, how)
    found = list(extrapolations(part.curves_for(metric), full, how)) if bounded(metric) else []
    choice, chosen = choice_blocks(part.runs, slug)
    arms = arm_blocks(part.runs, how, slug)
    blocks: list[tuple[str, str, list[Block]]] = [
        *([("arms", ARMS, arms)] if arms else []),
        ("curves", "Budget curves", _curve_blocks(part, how, slug, rows)),
        ("differences", "Differences to the baselines", _difference_blocks(part, how, slug)),
        ("forest", "Forest of paired differences", _forest_blocks(forest, drawing, slug)),
        ("wins", "Win matrix", _win_blocks(part, metric, slug)),
        (
            "areas",
            "Areas and budgets to a target",
            _area_blocks(part, rows, metric, full, words, slug),
        ),
        ("beyond", "Beyond the last budget", _beyond_blocks(found, metric, full, slug)),
        ("classes", "Classes", [class_cells(part, how.metrics, f"classes_{slug}")]),
        ("stages", "Stages", [stage_cells(part, metric, f"stages_{slug}")]),
        ("pseudo", "Pseudo-labels", _pseudo_blocks(part, slug)),
        ("gap", "Validation and test", _gap_blocks(part, metric, slug)),
        ("auc", "Area under the ROC curve", auc_blocks(part.runs, f"auc_{slug}")),
        ("choice", "What was chosen", choice),
        ("chosen", "Chosen cases", selection_blocks(part.runs)),
        ("worst", "Worst cases", worst_blocks(part.runs)),
        ("guards", "Guard rails", [guard_cells(part.runs, f"guards_{slug}")]),
    ]
    where = "" if alone else f" ({part.dataset}, {UNITS.get(part.unit, 'units')})"
    return PartPage(
        sections=[
            Section(id=f"{name}-{slug}".replace("_", "-"), title=title + where, blocks=b)
            for name, title, b in blocks
        ],
        frames={
            f"forest_{slug}": forest,
            f"beyond_{slug}": pd.DataFrame([one.row() for one in found]),
            f"curve_costs_{slug}": rows,
            **chosen,
            **arm_frames(part.runs, how, slug),
        },
        drawings={} if drawing is None else {f"forest_{slug}": drawing},
    )


def _curve_blocks(part: Part, how: CurveSettings, slug: str, rows: pd.DataFrame) -> list[Block]:
    first = how.metrics[0]
    blocks: list[Block] = []
    for factor in BASES:
        title = f"{NAMES.get(first, first)} by {factor}"
        blocks += [Heading(text=title), _panels(rows, factor, how, difference=False)]
    costs = [_picture(rows, layout, how) for layout in layouts(rows)]
    if costs:
        text = "Means of the runs at each budget against their mean cost; intervals as above."
        blocks += [Heading(text="The same against cost"), Figures(pictures=costs, caption=text)]
    for metric in how.metrics:
        name = NAMES.get(metric, metric)
        headers, cells = _curve_cells(part.mean(part.curve, metric))
        blocks.append(
            Table(
                name=f"curve_{metric}_{slug}",
                caption=f"{name} on test cases, stage {part.stage}, mean over classes",
                headers=headers,
                rows=cells,
                fixed=2,
                note=f"By annotated {UNITS.get(part.unit, 'units')}; {how.level:.0%} bootstrap "
                "intervals. AUBC: area on the axis of rounds.",
            )
        )
    headers, cells = best_cells(part.mean(part.curve, first))
    caption = f"Best {NAMES.get(first, first)} at each budget"
    flattered = "The best of several is flattered by chance; read it with the last column."
    best = Table(
        name=f"best_{slug}", caption=caption, headers=headers, rows=cells, fixed=4, note=flattered
    )
    return [*blocks, best]


def _curve_cells(rows: pd.DataFrame, sign: bool = False) -> Cells:
    """Budgets as "at 16": on a phone the header stands beside its value."""
    headers, cells = curve_cells(rows, sign)
    return [f"at {name}" if name.isdigit() else name for name in headers], cells


def _panels(rows: pd.DataFrame, factor: Factor, how: CurveSettings, difference: bool) -> Figures:
    """One narrow drawing for each value of the other factor."""
    layout = Layout(
        lines=factor, panels=OTHER[factor], difference=difference, narrow=True,
        limits=_limits(rows, difference),
    )  # fmt: skip
    names = ordered(rows[layout.panels])
    parts = [rows[rows[layout.panels] == name] for name in names]
    return Figures(
        pictures=[_picture(part, layout, how) for part in parts], caption=note(rows, how)
    )


def _limits(rows: pd.DataFrame, difference: bool) -> tuple[float, float] | None:
    """One value axis for all panels."""
    ends = rows[["low", "high", "mean"]].to_numpy(dtype=float)
    ends = ends[np.isfinite(ends)]
    if not ends.size:
        return None
    low, high = float(ends.min()), float(ends.max())
    low, high = (min(low, 0.0), max(high, 0.0)) if difference else (low, high)
    room = 0.05 * (high - low) or 0.01
    return low - room, high + room


def _picture(rows: pd.DataFrame, layout: Layout, how: CurveSettings) -> Picture:
    metric = str(rows["metric"].iloc[0])
    words = f"{NAMES.get(metric, metric)} against {layout.axis_name or 'annotated units'}"
    if layout.panels != "all":
        words += f", {layout.panels} {rows[layout.panels].iloc[0]}, one line per {layout.lines}"
    alt = f"{words}; the numbers are in the tables of this section"
    return Picture(data=svg_uri(svg(budget_drawing(rows, layout, how))), alt=alt)


def _difference_blocks(part: Part, how: CurveSettings, slug: str) -> list[Block]:
    metric = how.metrics[0]
    blocks: list[Block] = []
    for factor, base in BASES.items():
        title = f"{NAMES.get(metric, metric)} minus {base} (same {OTHER[factor]})"
        blocks.append(Heading(text=title))
        rows = part.mean(part.differences[factor], metric)
        if rows.empty:
            words = f"Nothing to compare: no arm shares seeds and {OTHER[factor]} with {base}."
            blocks.append(Text(paragraphs=(words,)))
            continue
        headers, cells = _curve_cells(rows, sign=True)
        blocks += [
            _panels(rows, factor, how, difference=True),
            Table(name=f"minus_{base}_{slug}", caption=f"{title}, paired by seeds and case",
                  headers=headers, rows=cells, fixed=2),
            Text(items=tuple(line.removeprefix("- ") for line in verdicts(rows, factor))),
        ]  # fmt: skip
    return blocks


def _forest_blocks(table: pd.DataFrame, drawing: Figure | None, slug: str) -> list[Block]:
    if drawing is None:
        return [Text(paragraphs=("Nothing to compare: no arm shares seeds with a baseline.",))]
    alt = "Forest of paired differences with intervals; the numbers are in the table below"
    picture = Picture(data=svg_uri(svg(drawing)), alt=alt)
    words = "Filled: Holm-adjusted p at most 0.05 (a claim only with 5 seeds or more)."
    return [Figures(pictures=[picture], caption=words), forest_cells(table, f"forest_{slug}")]


def _win_blocks(part: Part, metric: str, slug: str) -> list[Block]:
    tables = win_tables(part, metric, slug)
    if not tables:
        words = "No win matrix: it needs two arms with a finished run on common budgets."
        return [Text(paragraphs=(words,))]
    return [*tables]


def _area_blocks(
    part: Part, rows: pd.DataFrame, metric: str, full: float, words: str, slug: str
) -> list[Block]:
    blocks: list[Block] = [area_cells(rows, f"areas_{slug}", full)]
    if bounded(metric):
        blocks.append(target_cells(rows, full, words, f"targets_{slug}"))
    return [*blocks, cost_cells(part, rows, f"costs_{slug}")]


def _beyond_blocks(found: Sequence[Beyond], metric: str, target: float, slug: str) -> list[Block]:
    if not bounded(metric):
        return [Text(paragraphs=(f"{metric} is not extended: it has no ceiling of 1.",))]
    if not found:
        words = f"No curve has {LEAST} finished budgets, which a power law and its check need."
        return [Text(paragraphs=(words,))]
    return [beyond_cells(found, target, f"beyond_{slug}")]


def _pseudo_blocks(part: Part, slug: str) -> list[Block]:
    made = (
        pseudo_cells(part.runs, f"pseudo_{slug}"),
        gate_cells(part.runs, f"gate_{slug}"),
        turn_cells(part.runs, f"turns_{slug}"),
    )
    found: list[Block] = [table for table in made if table]
    return found or [Text(paragraphs=("No run made pseudo-labels.",))]


def _gap_blocks(part: Part, metric: str, slug: str) -> list[Block]:
    table = gap_cells(part, metric, f"gap_{slug}")
    return [table] if table else [Text(paragraphs=("No validation cases in these runs.",))]


def tables_of(sections: Sequence[Section]) -> Iterator[Table]:
    """Every table of the page, for LaTeX."""
    for section in sections:
        yield from (block for block in section.blocks if isinstance(block, Table))
