"""A budget curve beyond its last point: power law, how many masks, and whether to believe it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from salearn.stats.bootstrap import percentile_interval, percentile_intervals

EXPONENTS = np.geomspace(0.02, 4.0, 120)
LEAST = 3  # points for three parameters


@dataclass(frozen=True, kw_only=True, eq=False)
class PowerLaw:
    """y(n) = a - b n^-c for one curve or for each bootstrap replicate of it.

    Attributes:
        a: value with endless masks, at most the ceiling of the metric.
        b: at least 0: more masks do not hurt.
        c: 0.02..4.
    """

    a: Float[np.ndarray, " b"]
    b: Float[np.ndarray, " b"]
    c: Float[np.ndarray, " b"]

    def at(self, masks: Float[np.ndarray, " n"]) -> Float[np.ndarray, "b n"]:
        """The value at each number of masks."""
        gap = self.b[:, None] * masks[None, :] ** -self.c[:, None]
        return np.asarray(self.a[:, None] - gap)

    def masks_for(self, target: float) -> Float[np.ndarray, " b"]:
        """(b / (a - target))^(1/c), the masks at which the target is reached; inf if never."""
        room = self.a - target
        ratio = self.b / np.where(room > 0, room, 1)
        with np.errstate(over="ignore"):
            found: np.ndarray = np.where(room > 0, ratio ** (1 / self.c), np.inf)
        return found


def fit_power_law(
    masks: Sequence[float],
    values: Float[np.ndarray, "b budget"],
    ceiling: float = 1.0,
) -> PowerLaw:
    """Least squares of a - b n^-c (b >= 0, a <= ceiling) for each row of values.

    For a fixed exponent a and b are linear, so only c is searched: a grid, then a finer one around
    its best point (variable projection, Golub & Pereyra 1973).

    Raises:
        ValueError: fewer than 3 budgets, budgets not positive and rising, values not finite.
    """
    n = np.asarray(masks, dtype=float)
    if len(n) < LEAST or len(n) != values.shape[1]:
        raise ValueError(f"a power law needs at least {LEAST} budgets, got {len(n)}")
    if (np.diff(n) <= 0).any() or n[0] <= 0 or not np.isfinite(values).all():
        raise ValueError("a power law needs positive, rising budgets and finite values")
    coarse = np.broadcast_to(EXPONENTS, (len(values), len(EXPONENTS)))
    c = _best(n, values, coarse, ceiling)
    step = float(EXPONENTS[1] / EXPONENTS[0])
    for _ in range(3):  # each pass is some 20 times finer
        fine = c[:, None] * step ** np.linspace(-1, 1, 41)
        c = _best(n, values, np.clip(fine, EXPONENTS[0], EXPONENTS[-1]), ceiling)
        step = step ** (1 / 20)
    a, b, _ = _linear(n, values, c[:, None], ceiling)
    return PowerLaw(a=a[:, 0], b=b[:, 0], c=c)


def _best(n: np.ndarray, values: np.ndarray, grid: np.ndarray, ceiling: float) -> np.ndarray:
    errors = _linear(n, values, grid, ceiling)[2]
    picked: np.ndarray = grid[np.arange(len(grid)), errors.argmin(axis=1)]
    return picked


def _linear(
    n: np.ndarray, values: np.ndarray, c: np.ndarray, ceiling: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """a, b and the squared error for every row of values and each of its exponents."""
    x = n[None, None, :] ** -c[:, :, None]
    y = values[:, None, :]
    mean_x, mean_y = x.mean(axis=2), np.broadcast_to(y.mean(axis=2), c.shape)
    dx = x - mean_x[:, :, None]
    slope = -(dx * y).sum(axis=2) / (dx**2).sum(axis=2)
    b = np.maximum(slope, 0)
    a = mean_y + b * mean_x
    # Where the best line rises above the ceiling, a is the ceiling and only b is fitted.
    pinned = np.maximum(((ceiling - y) * x).sum(axis=2) / (x**2).sum(axis=2), 0)
    over = a > ceiling
    a, b = np.where(over, ceiling, a), np.where(over, pinned, b)
    left = a[:, :, None] - b[:, :, None] * x - y
    return a, b, (left**2).sum(axis=2)


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A value or a number of masks beyond the curve, with its interval.

    Attributes:
        estimate: of the fit to the curve itself.
        low, high: 95 % percentile interval over the fits to its bootstrap replicates: sampling
            error only, as if the power law were true (`hold_out` says how true it was).
        unreachable: share of replicates that never reach the target.
    """

    estimate: float
    low: float
    high: float
    unreachable: float = 0.0


def masks_needed(
    masks: Sequence[float],
    curve: Float[np.ndarray, " budget"],
    replicates: Float[np.ndarray, "b budget"],
    target: float,
    ceiling: float = 1.0,
) -> Forecast:
    """How many masks in all reach `target`; inf where the fitted curve never does.

    More masks = the answer minus the last budget.

    Raises:
        ValueError: as `fit_power_law`.
    """
    drawn = fit_power_law(masks, replicates, ceiling).masks_for(target)
    low, high = percentile_interval(drawn)
    return Forecast(
        estimate=float(fit_power_law(masks, curve[None], ceiling).masks_for(target)[0]),
        low=low,
        high=high,
        unreachable=float(np.isinf(drawn).mean()),
    )


def forecast(
    masks: Sequence[float],
    curve: Float[np.ndarray, " budget"],
    replicates: Float[np.ndarray, "b budget"],
    at: Sequence[float],
    ceiling: float = 1.0,
) -> list[Forecast]:
    """The value at further numbers of masks.

    Raises:
        ValueError: as `fit_power_law`.
    """
    places = np.asarray(at, dtype=float)
    middle = fit_power_law(masks, curve[None], ceiling).at(places)[0]
    lows, highs = percentile_intervals(fit_power_law(masks, replicates, ceiling).at(places))
    ends = zip(middle, lows, highs, strict=True)
    return [Forecast(estimate=float(m), low=float(a), high=float(b)) for m, a, b in ends]


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """One hidden budget: what was predicted from the budgets before, and what came.

    Attributes:
        expected: prediction with its interval (of the mean curve, see `Forecast`).
        observed: the value that was hidden.
        naive_error: |last shown value - observed|: what "no further gain" would have missed.
        covered: whether expected +- the spread of the observed value holds the observed one.
    """

    masks: float
    expected: Forecast
    observed: float
    naive_error: float
    covered: bool

    @property
    def error(self) -> float:
        """Predicted minus observed."""
        return self.expected.estimate - self.observed


def hold_out(
    masks: Sequence[float],
    curve: Float[np.ndarray, " budget"],
    replicates: Float[np.ndarray, "b budget"],
    hidden: int = 1,
    ceiling: float = 1.0,
) -> list[HeldOut]:
    """Hide the last budgets, fit the rest, and compare: may this curve be extrapolated at all?

    Covered: the 95 % interval of predicted minus observed over joint resamples holds 0.

    Raises:
        ValueError: fewer than 3 budgets would be left, or as `fit_power_law`.
    """
    shown = len(masks) - hidden
    if hidden < 1 or shown < LEAST:
        raise ValueError(f"hiding {hidden} of {len(masks)} budgets leaves fewer than {LEAST}")
    places = np.asarray(masks[shown:], dtype=float)
    expected = forecast(
        masks[:shown], curve[:shown], replicates[:, :shown], places.tolist(), ceiling
    )
    drawn = fit_power_law(masks[:shown], replicates[:, :shown], ceiling).at(places)
    lows, highs = percentile_intervals(drawn - replicates[:, shown:])
    rows = []
    for k, (place, found) in enumerate(zip(places.tolist(), expected, strict=True)):
        observed = float(curve[shown + k])
        row = HeldOut(
            masks=place,
            expected=found,
            observed=observed,
            naive_error=abs(float(curve[shown - 1]) - observed),
            covered=bool(lows[k] <= 0 <= highs[k]) or math.isclose(found.estimate, observed),
        )
        rows.append(row)
    return rows


def efficiency(
    share: Float[np.ndarray, " budget"],
    values: Float[np.ndarray, "b budget"],
    full: float,
) -> Float[np.ndarray, " b"]:
    """beta of y = full - (full - y_0) exp(-beta (x - x_0)): speed per unit of annotation.

    nnActive's foreground efficiency, fitted through the first point; least squares for each row.

    Args:
        share: of the foreground voxels that were annotated, rising.
        full: value of the metric with all masks.

    Raises:
        ValueError: fewer than 2 budgets, or a start that is not below `full`.
    """
    start = values[:, :1]
    if len(share) < 2 or (start >= full).any():
        raise ValueError("the efficiency needs 2 budgets and a start below the full value")
    x = share - share[0]
    rates = np.geomspace(1e-3, 1e3, 4_000) / x[-1]
    shapes = np.exp(-rates[:, None] * x[None, :])
    gone = (full - values) / (full - start)
    scale = (full - start[:, 0]) ** 2
    # |gone - shape|^2 expanded: one matrix product instead of a b x rate x budget table.
    errors = (gone**2).sum(axis=1)[:, None] - 2 * gone @ shapes.T + (shapes**2).sum(axis=1)
    best: np.ndarray = rates[(errors * scale[:, None]).argmin(axis=1)]
    return best
