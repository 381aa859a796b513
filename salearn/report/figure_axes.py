"""Ticks of the horizontal axes: budgets, and what they cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOG_FROM = 8  # the budget axis is logarithmic from this ratio of last to first budget on


def cost_axis(ax: Axes, costs: Sequence[float]) -> None:
    """A few round numbers; logarithmic like the axis of budgets."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    low, high = min(costs), max(costs)
    log = low > 0 and high / low >= LOG_FROM
    if log:
        ax.set_xscale("log", base=2)
    places = np.geomspace(low, high, 5) if log else np.linspace(low, high, 4)
    ticks = sorted({float(f"{place:.1g}") if log else float(f"{place:.2g}") for place in places})
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda x, _: f"{x / 1e3:g}k" if x >= 1e4 else f"{x:g}")
    )


def budget_axis(ax: Axes, budgets: Sequence[int]) -> None:
    """At most eight budgets, the last one among them."""
    from matplotlib.ticker import FixedLocator, NullLocator

    step = math.ceil(len(budgets) / 8)
    shown = budgets[::-1][::step][::-1]
    log = budgets[0] > 0 and budgets[-1] / budgets[0] >= LOG_FROM
    if log and ax.get_xscale() != "log":  # panels share their axis
        ax.set_xscale("log", base=2)
    ax.xaxis.set_major_locator(FixedLocator(shown))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(shown, [str(budget) for budget in shown])
