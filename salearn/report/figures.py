"""Budget curves and paired differences as PNG, SVG, PDF: legible in grey, to the colour-blind."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from salearn.metrics.evaluate import MEAN
from salearn.report.aggregate import CurveSettings
from salearn.report.figure_axes import budget_axis, cost_axis
from salearn.report.tables import BASELINES, ordered
from salearn.store import atomic

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Factor = Literal["strategy", "learner"]

# Okabe-Ito without its yellow, which is too light for lines; the baseline is dark grey.
BASE_COLOUR = "#444444"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = "sD^vPX*"
MOST_COLUMNS = 4
MOST_CLASSES = 4
LEGEND_COLUMNS = 4
MIN_WIDTH = 6.4  # inches, so that legend and note have room
NARROW = 4.2  # inches: a figure of this width is legible on a phone
LONG_NAME = 22  # letters; narrow legends with longer names have one column
NAMES = {"dice": "Dice", "hd95_mm": "HD95 (mm)", "assd_mm": "ASSD (mm)", "iou": "IoU"}
UNITS = {"volume": "cases", "slice": "slices", "patch": "patches"}
DRAWN = ("class", "budget", "mean", "low", "high")  # columns; others would be copied line by line
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "svg.hashsalt": "salearn",  # the same table gives the same bytes
}


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a figure shows.

    Attributes:
        lines: the factor whose values are lines of one panel.
        panels: the factor whose values stand side by side.
        difference: values are paired differences to a baseline, so a line at 0 is drawn.
        axis: the column of the budget axis, "budget" or a cost.
        axis_name: what the axis is called; "" = annotated units.
        narrow: for a phone: one column, mean over classes only, no note below.
        limits: of the value axis, so that several figures can be compared; None = of the data.
    """

    lines: str
    panels: str
    difference: bool = False
    axis: str = "budget"
    axis_name: str = ""
    narrow: bool = False
    limits: tuple[float, float] | None = None


def budget_figure(
    table: pd.DataFrame, stem: Path, layout: Layout, how: CurveSettings | None = None
) -> dict[str, Path]:
    """Draw rows of a curve or difference table to STEM.png, .svg and .pdf; returns the paths.

    The table holds one data set, split, stage and metric. One row of panels for the mean over
    classes and, up to four of them, one for each class; bands are the intervals.
    """
    return save(budget_drawing(table, layout, how), stem)


def budget_drawing(table: pd.DataFrame, layout: Layout, how: CurveSettings | None = None) -> Figure:
    """The figure of `budget_figure`, not yet written."""
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        return _figure(table, layout, how or CurveSettings())


SAVED: dict[str, dict[str, Any]] = {
    "png": {"dpi": 160, "metadata": {"Software": None}},
    "svg": {"metadata": {"Date": None}},
    "pdf": {"metadata": {"CreationDate": None}},
}


def save(figure: Figure, stem: Path) -> dict[str, Path]:
    """Write a figure as STEM.png, .svg and .pdf; the same figure gives the same bytes."""
    import matplotlib as mpl

    paths = {}
    for kind, how in SAVED.items():
        paths[kind] = stem.with_name(f"{stem.name}.{kind}")
        with mpl.rc_context(STYLE), atomic(paths[kind]) as temporary:
            figure.savefig(temporary, format=kind, **how)
    return paths


def svg(figure: Figure) -> bytes:
    """A figure as SVG, its letters as outlines: it looks the same in every browser."""
    import matplotlib as mpl

    text = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(text, format="svg", **SAVED["svg"])
    return text.getvalue()


def _figure(table: pd.DataFrame, layout: Layout, how: CurveSettings) -> Figure:
    names = ordered(table[layout.panels])
    classes = [MEAN] if layout.narrow else _classes(table, len(names))
    columns = min(len(names), 1 if layout.narrow else MOST_COLUMNS)
    rows = len(classes) * math.ceil(len(names) / columns)
    shown = ordered(table[layout.lines])
    lines = math.ceil(len(shown) / _legend_columns(shown, layout))
    top = (0.45 if any(names) else 0.25) + 0.21 * lines  # no title without a name
    figure = _sheet(rows, columns, top, layout.narrow)
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey="row")
    axes = [ax for row in grid for ax in row]
    places = [(group, name) for group in classes for name in names]
    drawn = table[list(dict.fromkeys((*DRAWN, layout.lines, layout.panels, layout.axis)))]
    for ax, (group, name) in zip(axes, places, strict=False):
        part = drawn[(drawn["class"] == group) & (drawn[layout.panels] == name)]
        _panel(ax, part, layout, shown)
        if group == MEAN:
            # with y given, no draw measures all tick labels to find out that nothing is in its way
            ax.set_title(name, fontsize=10, fontweight="bold", y=1.0)
    for ax in axes[len(places) :]:
        ax.set_visible(False)
    figure.align_ylabels(grid[:, 0])
    for row, line in enumerate(grid):
        line[0].set_ylabel(_quantity(table, classes[row * len(classes) // rows], layout))
    _finish(figure, axes[: len(places)], table, layout)
    if not layout.narrow:
        _footnote(figure, table, how)
    _pin_empty_labels(axes)
    return figure


def _pin_empty_labels(axes: Sequence[Axes]) -> None:
    """No draw places labels that say nothing, by measuring all labels of their ticks."""
    for ax in axes:
        for axis in (ax.xaxis, ax.yaxis):
            if not axis.get_label_text():
                axis.set_label_coords(0.5, 0.5)


def _legend_columns(names: Sequence[str], layout: Layout) -> int:
    if not layout.narrow:
        return LEGEND_COLUMNS
    return 1 if max(map(len, names), default=0) > LONG_NAME else 2


def _sheet(rows: int, columns: int, top: float, narrow: bool = False) -> Figure:
    """An empty figure with room for labels in inches: ten times faster than a layout engine."""
    from matplotlib.figure import Figure

    left, right, bottom, gap = 1.1 if narrow else 0.95, 0.2, 0.75 if narrow else 1.05, 0.25
    width = max(((NARROW if narrow else MIN_WIDTH) - left - right) / columns, 2.6)
    size = (columns * width + left + right, rows * 2.3 + top + bottom)
    figure = Figure(figsize=size)
    figure.subplots_adjust(
        left=left / size[0],
        right=1 - right / size[0],
        top=1 - top / size[1],
        bottom=bottom / size[1],
        wspace=gap / (width - gap),
        hspace=gap / (2.3 - gap),
    )
    return figure


def _classes(table: pd.DataFrame, panels: int) -> list[str]:
    """The mean over classes first; single classes only where there is room for them."""
    single = [name for name in dict.fromkeys(table["class"]) if name != MEAN]
    few = 1 < len(single) <= MOST_CLASSES and panels <= MOST_COLUMNS
    return [MEAN, *single] if few else [MEAN]


def _panel(ax: Axes, part: pd.DataFrame, layout: Layout, names: Sequence[str]) -> None:
    if layout.limits:
        ax.set_ylim(*layout.limits)
    if layout.difference:
        ax.axhline(0, color=BASE_COLOUR, linewidth=1)
    others = [name for name in names if name not in BASELINES]
    automatic = ax.get_autoscalex_on(), ax.get_autoscaley_on()
    ax.autoscale(enable=False)  # else the limits of all panels are worked out anew for each line
    for name in names:
        points = part[part[layout.lines] == name].sort_values("budget")
        if points.empty:
            continue
        base = name in BASELINES
        place = 0 if base else others.index(name)
        colour = BASE_COLOUR if base else COLOURS[place % len(COLOURS)]
        marker = "o" if base else MARKERS[place % len(MARKERS)]
        dash = "--" if base else "-"
        x = points[layout.axis].to_numpy()
        low, high, mean = (_finite(points[column]) for column in ("low", "high", "mean"))
        if layout.axis == "budget":  # against cost all arms share a panel: too many bands
            ax.fill_between(x, low, high, facecolor=(colour, 0.13), edgecolor=(colour, 0.5), lw=0.7)
        style: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": dash}
        ax.plot(x, mean, linewidth=1.8, markersize=5.5, label=name, **style)
    ax.set_autoscalex_on(automatic[0])
    ax.set_autoscaley_on(automatic[1])


def _finite(column: pd.Series) -> Any:
    import numpy as np

    values = column.to_numpy(dtype=float)
    return np.where(np.isfinite(values), values, np.nan)


def _quantity(table: pd.DataFrame, group: str, layout: Layout) -> str:
    metric = str(table["metric"].iloc[0])
    label = NAMES.get(metric, metric)
    if layout.difference:
        label = f"{label} minus {table['against'].iloc[0]}"
    single = [name for name in dict.fromkeys(table["class"]) if name != MEAN]
    mean = single[0] if len(single) == 1 else "mean of classes"
    which = mean if group == MEAN else group
    return f"{label}\n{which}"


def _finish(figure: Figure, axes: Sequence[Axes], table: pd.DataFrame, layout: Layout) -> None:
    """Axis of budgets or costs, and one legend for all panels."""
    unit = UNITS.get(str(table["unit"].iloc[0]), "units")
    for ax in axes:
        if layout.axis == "budget":
            budget_axis(ax, sorted({int(budget) for budget in table["budget"]}))
        else:
            cost_axis(ax, [float(cost) for cost in table[layout.axis]])
    height = 0.62 - 0.35 * layout.narrow
    name = layout.axis_name or f"annotated {unit}"
    figure.text(0.5, height / figure.get_figheight(), name, ha="center", va="center")
    found = [ax.get_legend_handles_labels() for ax in axes]
    legend = {
        label: line for lines, labels in found for line, label in zip(lines, labels, strict=True)
    }
    figure.legend(
        [legend[name] for name in ordered(legend)],
        ordered(legend),
        loc="upper center",
        bbox_to_anchor=(0.5, 1.0),
        ncols=min(len(legend), _legend_columns(list(legend), layout)) or 1,
        frameon=False,
    )


def _footnote(figure: Figure, table: pd.DataFrame, how: CurveSettings) -> None:
    text = textwrap.fill(note(table, how), int(figure.get_figwidth() * 16))
    place = (0.1 / figure.get_figwidth(), 0.08 / figure.get_figheight())
    figure.text(*place, text, fontsize=8, color="#555555")


def note(table: pd.DataFrame, how: CurveSettings) -> str:
    """What the points and bands of a curve or difference table are."""
    seeds, cases = (_range(table[name]) for name in ("n_seeds", "n_cases"))
    over = " or ".join(sorted(set(table["interval_over"])))
    return (
        f"{table['dataset'].iloc[0]}, {table['split'].iloc[0]} cases, stage "
        f"{table['stage'].iloc[0]}. Points: mean over {seeds} seeds of the mean over {cases} "
        f"cases. Bands: {how.level:.0%} bootstrap intervals over {over}."
    )


def _range(column: pd.Series) -> str:
    low, high = int(column.min()), int(column.max())
    return str(low) if low == high else f"{low}-{high}"
