"""The section on what was chosen: diagnostics, overlaps, a map of the pool with the choices."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np

from salearn.report.blocks import Block, Figures, Heading, Picture, Table, Text, svg_uri
from salearn.report.embedded import Embedded, embedded, plane
from salearn.report.figures import STYLE, svg
from salearn.report.gallery import alike, first_runs
from salearn.report.overlaps import overlap_table
from salearn.report.parts import arm_of, labelled, learner_of
from salearn.report.picks import DIAGNOSTICS, pick_table
from salearn.report.runs import Run
from salearn.report.tables import ordered

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

MOST_POINTS = 3000  # of the pool in a map; all choices are drawn
MOST_MAPS = 48
EMPTY = "No embeddings of these candidates are in the store, so coverage, redundancy and outliers "
EMPTY += "are not known and there is no map; `salearn embed`, or a strategy that looks at them."


def choice_blocks(runs: Sequence[Run], slug: str) -> tuple[list[Block], dict[str, pd.DataFrame]]:
    """The blocks of the section, and its tidy tables for files."""
    picks, overlaps = pick_table(runs), overlap_table(runs)
    frames = {f"selection_{slug}": picks, f"overlap_{slug}": overlaps}
    if picks.empty:
        return [Text(paragraphs=("No round is finished, so nothing was chosen yet.",))], frames
    blocks: list[Block] = [diagnostic_cells(picks, f"selection_{slug}"), _definitions()]
    if not overlaps.empty:
        blocks.append(overlap_cells(overlaps, f"overlap_{slug}"))
    maps = _maps(runs)
    if maps:
        words = "Grey: the pool. Coloured: what was chosen, light to dark by round; the start is a "
        words += "square. Frozen embeddings, first two principal components; axes are alike."
        blocks += [Heading(text="Map of the pool"), Figures(pictures=maps, caption=words)]
    if "coverage" not in set(picks["diagnostic"]):
        blocks.append(Text(paragraphs=(EMPTY,)))
    return blocks, frames


def diagnostic_cells(picks: pd.DataFrame, name: str) -> Table:
    """Each diagnostic of each arm: mean over budgets, then over seeds."""
    shown = [key for key in DIAGNOSTICS if key in set(picks["diagnostic"])]
    table = labelled(picks)
    rows = []
    for strategy in ordered(table["strategy"]):
        for learner in ordered(table["learner"]):
            part = table[(table["strategy"] == strategy) & (table["learner"] == learner)]
            if not part.empty:
                rows.append([strategy, learner, *(_mean(part, key) for key in shown)])
    return Table(
        name=name,
        caption="What was chosen: means over budgets and seeds",
        headers=["strategy", "learner", *shown],
        rows=rows,
        fixed=2,
        note="Of everything annotated by then. Every budget and seed is in the CSV file.",
    )


def _mean(part: pd.DataFrame, key: str) -> str:
    values = part[part["diagnostic"] == key].groupby("cell")["value"].mean()
    if values.empty or values.isna().all():
        return "-"
    return f"{values.mean():.0f}" if key.startswith("seconds") else f"{values.mean():.3f}"


def _definitions() -> Text:
    return Text(items=tuple(f"{k}: {words} ({source})." for k, (words, source) in
                            DIAGNOSTICS.items()))  # fmt: skip


def overlap_cells(overlaps: pd.DataFrame, name: str) -> Table:
    """Mean Jaccard index of each pair of strategies, over budgets, learners and seeds."""
    names = ordered({*overlaps["a"], *overlaps["b"]})
    means = overlaps.groupby(["a", "b"])["jaccard"].mean().to_dict()
    numbers = [str(k + 1) for k in range(len(names))]
    rows = []
    for number, one in zip(numbers, names, strict=True):
        found = [means.get((one, other), means.get((other, one))) for other in names]
        cells = ["·" if one == other else "-" if value is None else f"{value:.2f}"
                 for other, value in zip(names, found, strict=True)]  # fmt: skip
        rows.append([f"{number}. {one}", *cells])
    chance = overlaps.drop_duplicates(["budget", "chance"]).groupby("budget")["chance"].mean()
    levels = ", ".join(f"{value:.3f} at {budget}" for budget, value in chance.items())
    return Table(
        name=name,
        caption="Overlap of choices: Jaccard index of what two strategies had annotated",
        headers=["strategy", *numbers],
        rows=rows,
        stack=False,
        note=f"Same seeds and learner, mean over budgets. Two random choices: {levels} annotated.",
    )


def _maps(runs: Sequence[Run]) -> list[Picture]:
    """One map for each arm, the run of its lowest seeds; arms that chose alike share one."""
    pictures = []
    for group in alike(first_runs(runs))[:MOST_MAPS]:
        space = embedded(group[0])
        if space is not None and group[0].rounds:
            names = ", ".join(arm_of(run.factors) for run in group)
            seed = group[0].factors["draw_seed"]
            alt = f"Map of the pool with the choices of {names}, draw seed {seed}"
            learners = ", ".join(dict.fromkeys(learner_of(run.factors) for run in group))
            drawn = svg_uri(svg(map_drawing(group[0], space, learners)))
            pictures.append(Picture(data=drawn, alt=alt))
    return pictures


def map_drawing(run: Run, space: Embedded, learners: str = "") -> Figure:
    """The pool in grey, the units of each round in colour; `learners` stands below the title."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    places, shares = plane(space.z)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(3.1, 2.9))
        ax = figure.add_axes((0.13, 0.13, 0.84, 0.72))
        grey = places[:: max(1, -(-len(places) // MOST_POINTS))]
        ax.scatter(grey[:, 0], grey[:, 1], s=7, color="#c4c4c4", linewidths=0)
        _choices(ax, run, space, places)
        ax.set_title(str(run.factors["strategy"]), fontsize=10, fontweight="bold", pad=12)
        ax.text(0.5, 1.02, shorten(learners, 62), fontsize=6, ha="center", transform=ax.transAxes)
        ax.set_xlabel(f"component 1 ({shares[0]:.0%})", fontsize=8)
        ax.set_ylabel(f"component 2 ({shares[1]:.0%})", fontsize=8)
        ax.set_xticks([])
        ax.set_yticks([])
        handles, _ = ax.get_legend_handles_labels()
        ax.legend(handles=handles[::-1], fontsize=6, frameon=False, handletextpad=0.1, loc="best",
                  title="annotated", title_fontsize=6)  # fmt: skip
    return figure


def _choices(ax: Any, run: Run, space: Embedded, places: np.ndarray) -> None:
    """Rounds from light to dark, the last ones first so that early choices stay visible."""
    from matplotlib import colormaps

    colours = colormaps["viridis_r"](np.linspace(0.15, 1, max(len(run.rounds), 1)))
    ends = [0, *(int(record["num_labeled"]) for record in run.rounds)]
    spans = [f"{a + 1}-{b}" if b > a + 1 else str(b) for a, b in pairwise(ends)]
    for k in reversed(range(len(run.rounds))):
        rows = space.rows([str(unit) for unit in run.rounds[k].get("selected", ())])
        ax.scatter(places[rows, 0], places[rows, 1], s=26, color=colours[k], label=spans[k],
                   marker="o" if k else "s", edgecolors="black", linewidths=0.4)  # fmt: skip
