"""Budget curves over seeds and cases, and paired differences between two arms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from salearn.metrics.curves import aubc
from salearn.metrics.evaluate import MEAN, STATUSES
from salearn.report.resampled import Resampled
from salearn.report.tables import ARM
from salearn.settings import Field, settings
from salearn.stats.bootstrap import Hierarchy, percentile_intervals

if TYPE_CHECKING:
    import pandas as pd

GROUP = (*ARM, "split", "stage")
AREAS = ("aubc", "aubc_low", "aubc_high", "aubc_cost")
AXES = ("budgets", "runs", "cases", "classes")


@settings
class CurveSettings:
    """How runs become curves.

    Attributes:
        metrics: which metrics get a curve.
        replicates: bootstrap resamples; 2,000 to explore, 10,000 for a paper.
        level: of the intervals.
        seed: of the resamples.
        full: score of full supervision in the first metric, if it is known from elsewhere.
    """

    metrics: tuple[str, ...] = ("dice", "hd95_mm")
    replicates: int = Field(default=2_000, ge=100)
    level: float = Field(default=0.95, gt=0, lt=1)
    seed: int = 0
    full: float | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """One metric of one arm (strategy x learner) at one stage, over budgets.

    Attributes:
        keys: the GROUP columns.
        budgets: annotated units, rising.
        runs: (draw seed, train seed) of each run.
        values: NaN = undefined (class absent in the case) or the run has not come so far.
        statuses: of each value, index into ("ok", *STATUSES); -1 = the run has not come so far.
    """

    keys: Mapping[str, str]
    metric: str
    budgets: tuple[int, ...]
    runs: tuple[tuple[int, int], ...]
    cases: tuple[str, ...]
    classes: tuple[str, ...]
    values: Float[np.ndarray, "budget run case class"] = field(repr=False)
    statuses: Int[np.ndarray, "budget run case class"] = field(repr=False)

    def ran(self) -> np.ndarray:
        """Which run has come to which budget, axes budget, run."""
        return np.asarray((self.statuses >= 0).any(axis=(2, 3)))

    def columns(self) -> list[tuple[str, slice]]:
        """Each class, then the mean over classes, as slices of the last axis."""
        single = [(name, slice(k, k + 1)) for k, name in enumerate(self.classes)]
        return [*single, (MEAN, slice(0, len(self.classes)))]


def curves_of(cases: pd.DataFrame, how: CurveSettings) -> list[Curve]:
    """All curves in a case table."""
    found: list[Curve] = []
    for names, part in cases.groupby(list(GROUP), observed=True, sort=True):
        keys = dict(zip(GROUP, map(str, names), strict=True))
        found += _curves(keys, part, how.metrics)
    return found


def _curves(keys: Mapping[str, str], part: pd.DataFrame, metrics: Sequence[str]) -> Iterator[Curve]:
    import pandas as pd

    seeds = pd.MultiIndex.from_frame(part[["draw_seed", "train_seed"]])
    axes = [pd.factorize(part["num_labeled"], sort=True), pd.factorize(seeds, sort=True)]
    axes.append(pd.factorize(part["case"].astype(str), sort=True))
    axes.append(pd.factorize(part["class"].astype(str)))  # in the order of the labels
    place = tuple(codes for codes, _ in axes)
    shape = tuple(len(names) for _, names in axes)
    statuses = np.full(shape, -1)
    codes = {name: code for code, name in enumerate(("ok", *STATUSES))}
    statuses[place] = part["status"].astype(str).map(codes).to_numpy(dtype=int)
    for metric in metrics:
        values = np.full(shape, np.nan)
        values[place] = part[metric].to_numpy()
        yield Curve(
            keys=keys,
            metric=metric,
            budgets=tuple(int(n) for n in axes[0][1]),
            runs=tuple((int(draw), int(train)) for draw, train in axes[1][1]),
            cases=tuple(axes[2][1]),
            classes=tuple(axes[3][1]),
            values=values,
            statuses=statuses,
        )


def difference(curve: Curve, base: Curve) -> Curve | None:
    """`curve` minus `base`, paired by seeds, case and class; None if nothing pairs up."""
    pairs = [_shared(getattr(curve, axis), getattr(base, axis)) for axis in AXES]
    if not all(pairs):
        return None
    mine = np.ix_(*[[a for a, _ in axis] for axis in pairs])
    other = np.ix_(*[[b for _, b in axis] for axis in pairs])
    both = (curve.statuses[mine] >= 0) & (base.statuses[other] >= 0)
    with np.errstate(invalid="ignore"):  # inf - inf: both missed the class, no difference known
        values = np.where(both, curve.values[mine] - base.values[other], np.nan)
    kept = [
        tuple(getattr(curve, axis)[a] for a, _ in pair)
        for axis, pair in zip(AXES, pairs, strict=True)
    ]
    axes: dict[str, Any] = dict(zip(AXES, kept, strict=True))
    return replace(curve, **axes, values=values, statuses=np.where(both, 0, -1))


def distinct_runs(pair: Curve, *sides: Curve) -> int:
    """Pairs of runs in `pair` that are not copies of each other, given the curves it came from.

    A strategy without chance gives every draw seed the same run: that is one seed, not several.
    """
    both = [
        side.values[:, [side.runs.index(run) for run in pair.runs]].swapaxes(0, 1) for side in sides
    ]
    flat = np.concatenate([values.reshape(len(pair.runs), -1) for values in both], axis=1)
    return len({row.tobytes() for row in flat})


def _shared(mine: Sequence[Any], other: Sequence[Any]) -> list[tuple[int, int]]:
    where = {name: index for index, name in enumerate(other)}
    return [(index, where[name]) for index, name in enumerate(mine) if name in where]


def curve_rows(curve: Curve, how: CurveSettings) -> Iterator[dict[str, Any]]:
    """One row per class and budget: mean over seeds of the mean over cases, interval, area.

    The area (aubc on the axis of rounds, aubc_cost on that of annotated units) is that of the mean
    curve of the runs that reached every budget; `aubc_seeds` counts them.
    """
    ran = curve.ran()
    whole = np.asarray(ran.all(axis=0))
    resampled = Resampled.of(curve.values, [d for d, _ in curve.runs], how.replicates, how.seed)
    ends = resampled.over(whole, slice(None)) if whole.any() else None
    areas = _areas(curve, ends, how)
    for step, budget in enumerate(curve.budgets):
        if not ran[step].any():
            continue
        tree = resampled.tree(ran[step])
        if ends and ran[step].sum() == whole.sum():  # the same runs: known from the area
            means, replicates = ends[0][step], ends[1][:, step]
        else:
            found = resampled.over(ran[step], slice(step, step + 1))
            means, replicates = found[0][0], found[1][:, 0]
        bounds = percentile_intervals(replicates, how.level)
        for k, (name, columns) in enumerate(curve.columns()):
            head = {**curve.keys, "metric": curve.metric, "class": name, "budget": budget}
            found_k = {"mean": means[k], "low": bounds[0][k], "high": bounds[1][k]}
            counts = _counts(curve.statuses[step][ran[step]][:, :, columns])
            yield head | found_k | _basis(tree) | counts | areas[name]


def _basis(tree: Hierarchy) -> dict[str, Any]:
    return {
        "interval_over": tree.over,
        "descriptive": tree.descriptive,
        "n_draws": len(set(tree.draws)),
        "n_seeds": len(tree.draws),
        "n_cases": tree.case_weights.shape[1],
    }


def _counts(statuses: np.ndarray) -> dict[str, int]:
    counts = {f"n_{name}": int((statuses == k).sum()) for k, name in enumerate(STATUSES, start=1)}
    total = int((statuses >= 0).sum())
    return {"n_total": total, "n_used": total - counts["n_absent"], **counts}


def _areas(
    curve: Curve, ends: tuple[np.ndarray, np.ndarray] | None, how: CurveSettings
) -> dict[str, dict[str, Any]]:
    """Areas of each class and of the mean over classes, over the runs that reached the end."""
    names = [name for name, _ in curve.columns()]
    if ends is None:
        return {name: dict.fromkeys(AREAS, float("nan")) | {"aubc_seeds": 0} for name in names}
    means, replicates = ends
    seeds = int(curve.ran().all(axis=0).sum())
    # One hierarchy resamples all budgets alike: the area of replicates replicates the area.
    areas = _trapezoids(replicates)
    low, high = percentile_intervals(areas, how.level)
    found = {}
    for k, name in enumerate(names):
        curve_k = [float(value) for value in means[:, k]]
        four = (aubc(curve_k), float(low[k]), float(high[k]), aubc(curve_k, curve.budgets))
        found[name] = dict(zip(AREAS, four, strict=True)) | {"aubc_seeds": seeds}
    return found


def _trapezoids(values: np.ndarray) -> np.ndarray:
    """Areas on the loop axis, as metrics.curves.aubc, for all replicates at once."""
    steps = values.shape[1]
    if steps == 1:
        return values[:, 0]
    return np.asarray(np.trapezoid(values, axis=1) / (steps - 1))


def curve_table(curves: Sequence[Curve], how: CurveSettings) -> pd.DataFrame:
    """Curves as a table: strategy x learner x stage x class x budget, test and validation."""
    import pandas as pd

    return pd.DataFrame([row for curve in curves for row in curve_rows(curve, how)])


def difference_table(
    curves: Sequence[Curve], how: CurveSettings, factor: str, base: str
) -> pd.DataFrame:
    """Paired differences to the arm that has `base` as its `factor` and is alike otherwise.

    The columns are those of curve_table with `against` and `n_distinct` (pairs of runs that are
    not copies of each other); statuses are not counted.

    Args:
        factor: "strategy" or "learner".
    """
    import pandas as pd

    by_name = {name_of(curve): curve for curve in curves}
    rows: list[dict[str, Any]] = []
    for curve in curves:
        if curve.keys[factor] == base or curve.keys["split"] != "test":
            continue
        other = by_name.get(name_of(curve, {factor: base}))
        pair = difference(curve, other) if other else None
        if pair is not None:
            facts = {"against": base, "n_distinct": distinct_runs(pair, curve, other or curve)}
            rows += [row | facts for row in curve_rows(pair, how)]
    return pd.DataFrame(rows)


def name_of(curve: Curve, changed: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The GROUP and metric of a curve, some of the keys replaced."""
    keys = {**curve.keys, **(changed or {})}
    return (*(keys[name] for name in GROUP), curve.metric)
