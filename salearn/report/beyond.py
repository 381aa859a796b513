"""Budget curves beyond their last point, and whether they may be extended at all."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from salearn.metrics.extrapolate import Forecast, HeldOut, forecast, hold_out, masks_needed
from salearn.report.aggregate import Curve, CurveSettings
from salearn.report.blocks import Table
from salearn.report.parts import arm_of
from salearn.stats.bootstrap import Hierarchy

LEAST = 4  # budgets: three for the fit, one to hide
FITS = 500  # resamples that are fitted, each several times
CLOSE = 0.01  # a hidden point missed by less is predicted well enough for planning


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """The power law of one arm.

    Attributes:
        doubled: score at twice the last budget.
        needed: units in all to reach the target.
        hidden: the last budget, predicted from those before.
    """

    arm: str
    last: int
    doubled: Forecast
    needed: Forecast
    hidden: HeldOut

    @property
    def fits(self) -> bool:
        """Whether the hidden point was predicted: closely, or within chance and usefully."""
        error = abs(self.hidden.error)
        return error <= CLOSE or (self.hidden.covered and error <= self.hidden.naive_error)

    def row(self) -> dict[str, object]:
        """Plain values for a table file."""
        parts = {"doubled": self.doubled, "needed": self.needed, "hidden": self.hidden.expected}
        plain = {f"{name}_{k}": v for name, part in parts.items() for k, v in asdict(part).items()}
        seen = {"observed": self.hidden.observed, "fits": self.fits}
        return {"arm": self.arm, "last_budget": self.last, **plain, **seen}


def extrapolations(curves: Sequence[Curve], target: float, how: CurveSettings) -> Iterator[Beyond]:
    """Power laws of all arms with at least four budgets that some run completed."""
    for curve in curves:
        whole = np.asarray(curve.ran().all(axis=0))
        if len(curve.budgets) < LEAST or not whole.any() or curve.budgets[0] <= 0:
            continue
        draws = [draw for (draw, _), use in zip(curve.runs, whole, strict=True) if use]
        tree = Hierarchy.make(draws, len(curve.cases), min(how.replicates, FITS), how.seed)
        values = curve.values[:, whole]
        drawn = np.stack([tree.replicates(table) for table in values], axis=1)
        mean = np.array([tree.estimate(table) for table in values])
        if np.isfinite(drawn).all():
            yield _beyond(arm_of(curve.keys), curve.budgets, mean, drawn, target)


def _beyond(
    arm: str, budgets: Sequence[int], mean: np.ndarray, drawn: np.ndarray, target: float
) -> Beyond:
    return Beyond(
        arm=arm,
        last=budgets[-1],
        doubled=forecast(budgets, mean, drawn, [2 * budgets[-1]])[0],
        needed=masks_needed(budgets, mean, drawn, target),
        hidden=hold_out(budgets, mean, drawn)[0],
    )


def beyond_cells(found: Sequence[Beyond], target: float, name: str) -> Table:
    """Forecasts in words; where the hidden point was missed the row says so, and gives none."""
    rows = []
    for one in found:
        seen = f"{_span(one.hidden.expected)} / {one.hidden.observed:.3f}"
        if one.fits:
            rows.append([one.arm, seen, "fits", _span(one.doubled), _units(one.needed)])
        else:
            rows.append([one.arm, seen, "does not fit", "-", "-"])
    return Table(
        name=name,
        caption="Power law a - b n^-c: the hidden last budget, and beyond it",
        headers=["arm", "last budget: predicted / seen", "verdict", "Dice at twice the last",
                 f"units for {target:.3f}"],
        rows=rows,
        note="Intervals are sampling error as if the law were true. A curve is extended only if "
        f"its last budget is predicted from the others to {CLOSE}, or within its interval and at "
        "least as well as by 'no further gain'.",
    )  # fmt: skip


def _span(one: Forecast) -> str:
    return f"{one.estimate:.3f} [{one.low:.3f}, {one.high:.3f}]"


def _units(one: Forecast) -> str:
    ends = [_count(value) for value in (one.estimate, one.low, one.high)]
    never = f", {one.unreachable:.0%} never" if one.unreachable else ""
    return f"{ends[0]} [{ends[1]}, {ends[2]}]{never}"


def _count(value: float) -> str:
    if math.isinf(value) or value > 1e5:
        return "∞"
    return f"{value:.0f}"
