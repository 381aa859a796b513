"""What a report is made from: tables of all runs, and the headline of each data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from salearn.metrics.evaluate import MEAN
from salearn.report.aggregate import Curve, CurveSettings, curve_table, curves_of, difference_table
from salearn.report.caveats import warnings_of
from salearn.report.figures import Factor
from salearn.report.references import refuse_mixed_references
from salearn.report.runs import Run, Runs
from salearn.report.tables import case_table, ordered

if TYPE_CHECKING:
    import pandas as pd

BASES: dict[Factor, str] = {"strategy": "random", "learner": "supervised"}
OTHER: dict[Factor, Factor] = {"strategy": "learner", "learner": "strategy"}
HEADLINE = "student"  # the stage that is named first, fixed before any result is seen


@dataclass(frozen=True, kw_only=True)
class Report:
    """Everything that the page and the figures are made from.

    Attributes:
        curves: one for each arm, split, stage and metric, with the values of every case.
        curve: the same as means with intervals.
        differences: by factor, paired differences to its baseline (random, supervised).
    """

    found: Runs
    cases: pd.DataFrame
    curves: list[Curve]
    curve: pd.DataFrame
    differences: dict[Factor, pd.DataFrame]
    how: CurveSettings

    @cached_property
    def warnings(self) -> list[str]:
        """What weakens the tables; the page and the summary both say it."""
        return warnings_of(self.found, self.curve)


def make_report(found: Runs, how: CurveSettings) -> Report:
    """Aggregate runs that were read.

    Raises:
        DataError: runs of one data set were scored against references of several kinds.
    """
    refuse_mixed_references(found.runs)
    cases = case_table(found.runs)
    curves = curves_of(cases, how) if len(cases) else []
    return Report(
        found=found,
        cases=cases,
        curves=curves,
        curve=curve_table(curves, how),
        differences={
            factor: difference_table(curves, how, factor, base) for factor, base in BASES.items()
        },
        how=how,
    )


@dataclass(frozen=True, kw_only=True)
class Part:
    """The headline of one data set and unit: test cases, one stage, all classes and metrics.

    Attributes:
        runs: the runs of this data set and unit.
        curves: with the values of every case.
        every: rows of all splits and stages.
    """

    dataset: str
    unit: str
    stage: str
    runs: tuple[Run, ...]
    curves: tuple[Curve, ...]
    every: pd.DataFrame
    curve: pd.DataFrame
    differences: dict[Factor, pd.DataFrame]

    def mean(self, table: pd.DataFrame, metric: str) -> pd.DataFrame:
        """Rows of a table for the mean over classes."""
        if table.empty:
            return table
        return table[(table["class"] == MEAN) & (table["metric"] == metric)]

    def curves_for(self, metric: str) -> list[Curve]:
        """Curves of one metric, baselines first."""
        found = [curve for curve in self.curves if curve.metric == metric]
        keys = [(c.keys["strategy"], learner_of(c.keys)) for c in found]
        order = {name: k for k, name in enumerate(ordered({n for pair in keys for n in pair}))}
        ranks = [(order[strategy], order[learner]) for strategy, learner in keys]
        return [found[k] for k in sorted(range(len(found)), key=ranks.__getitem__)]


def parts_of(report: Report) -> Iterator[Part]:
    """The headline of each data set and unit."""
    if report.curve.empty:
        return
    for (dataset, unit), curve in report.curve.groupby(["dataset", "unit"], observed=True):
        stages = set(curve["stage"])
        stage = HEADLINE if HEADLINE in stages else sorted(stages)[-1]
        yield Part(
            dataset=str(dataset),
            unit=str(unit),
            stage=stage,
            runs=tuple(r for r in report.found.runs if _place(r) == (str(dataset), str(unit))),
            curves=_curves(report, str(dataset), str(unit), stage),
            every=labelled(curve),
            curve=_headline(curve, str(dataset), str(unit), stage),
            differences={
                name: _headline(table, str(dataset), str(unit), stage)
                for name, table in report.differences.items()
            },
        )


def _place(run: Run) -> tuple[str, str]:
    return str(run.factors["dataset"]), str(run.record.get("unit", "volume"))


def _curves(report: Report, dataset: str, unit: str, stage: str) -> tuple[Curve, ...]:
    wanted = {"dataset": dataset, "unit": unit, "stage": stage, "split": "test"}
    return tuple(
        curve
        for curve in report.curves
        if all(curve.keys[name] == value for name, value in wanted.items())
    )


def learner_of(keys: Mapping[str, Any]) -> str:
    """The learner, with its variant where it has one."""
    return f"{keys['learner']} [{keys['variant']}]" if keys["variant"] else str(keys["learner"])


def arm_of(keys: Mapping[str, Any]) -> str:
    """Strategy x learner, as it is printed."""
    return f"{keys['strategy']} x {learner_of(keys)}"


def _headline(table: pd.DataFrame, dataset: str, unit: str, stage: str) -> pd.DataFrame:
    if table.empty:
        return table
    same = (table["dataset"] == dataset) & (table["unit"] == unit) & (table["stage"] == stage)
    return labelled(table[same & (table["split"] == "test")])


def labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Variants of a learner as learners of their own, so that no reader takes them for seeds."""
    suffix = table["variant"].astype(str).map(lambda name: f" [{name}]" if name else "")
    return table.assign(learner=table["learner"].astype(str) + suffix)
