"""Two runs or two studies side by side: what differs in settings, and by how much in scores."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from salearn.report.aggregate import (
    Curve,
    CurveSettings,
    curve_rows,
    curves_of,
    difference,
    distinct_runs,
)
from salearn.report.figures import Layout, budget_figure
from salearn.report.matching import Match, match_runs, setting_rows
from salearn.report.parts import HEADLINE
from salearn.report.reach import crossing, needed, power_cells
from salearn.report.runs import Run, read_runs
from salearn.report.tables import case_table, plain, write_table
from salearn.report.text import markdown
from salearn.report.verdict import budget_cells, headline, paragraph
from salearn.stats.bootstrap import FEW_CLUSTERS
from salearn.stats.hierarchical import compare_methods
from salearn.stats.multiplicity import family
from salearn.stats.refuse import RefusedTest
from salearn.stats.result import Result
from salearn.store import write_text

if TYPE_CHECKING:
    import pandas as pd

Arms = Mapping[str, Sequence[tuple[Curve, int]]]
UNKNOWN = Result(name="none", statistic=math.nan, p_value=math.nan, n_units=0, unit="case")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """B minus A.

    Attributes:
        metric: the one that the verdict is about.
        settings: rows key, a, b: where the settings differ.
        matched: rows a, b, arm, seeds: folders of cells that were paired.
        unmatched: folders on one side only.
        table: one row per arm, split, stage, metric, class and budget: mean difference, interval,
            p, p_holm (family: the rows of one stage, metric and class), note.
        crossings: per arm, where B meets A: first, last, roots, supported, in words.
        power: per arm, draw seeds and the test cases that a difference of a given size needs.
        warnings: what weakens the comparison.
        verdict: one paragraph.
    """

    metric: str
    settings: list[dict[str, str]]
    matched: list[dict[str, str]]
    unmatched: dict[str, list[str]]
    table: pd.DataFrame
    crossings: list[dict[str, Any]]
    power: list[dict[str, Any]]
    warnings: list[str]
    verdict: str

    def to_json(self) -> dict[str, Any]:
        """Plain values; undefined numbers are None."""
        rows = [
            {k: plain(v) if isinstance(v, float) else v for k, v in row.items()}
            for row in self.table.to_dict("records")
        ]
        return {
            "settings": self.settings,
            "matched": self.matched,
            "unmatched": self.unmatched,
            "differences": rows,
            "crossings": self.crossings,
            "power": self.power,
            "warnings": self.warnings,
            "verdict": self.verdict,
        }


def compare_runs(
    a: Path, b: Path, how: CurveSettings | None = None, size: float = 0.02
) -> Comparison:
    """Pair the cells of two run or study folders, then seeds and cases, and take B minus A.

    Args:
        size: difference of the first metric that a future study should be able to see.

    Raises:
        ConfigError: a folder does not exist or holds no run.
    """
    import pandas as pd

    how = how or CurveSettings()
    left, right = read_runs([a]).runs, read_runs([b]).runs
    match = match_runs(left, right)
    arms = {arm: list(_differences(pairs, how)) for arm, pairs in match.arms().items()}
    table = pd.DataFrame(list(_rows(arms, how)))
    lead = list(_headlines(arms, how.metrics[0]))
    crossings = [crossing(arm, curve, how) for arm, curve in lead]
    return Comparison(
        metric=how.metrics[0],
        settings=setting_rows(left, right),
        matched=match.rows(),
        unmatched={"a": match.only_a, "b": match.only_b},
        table=table,
        crossings=[row for row in crossings if row is not None],
        power=[row for arm, curve in lead for row in needed(arm, curve, size)],
        warnings=list(_warnings(match, table)),
        verdict=paragraph(table, how.metrics[0]),
    )


def _headlines(arms: Arms, metric: str) -> Iterator[tuple[str, Curve]]:
    """The curve of each arm that the verdict is about: test cases, the student if it is there."""
    for arm, pairs in arms.items():
        curves = [c for c, _ in pairs if c.keys["split"] == "test" and c.metric == metric]
        curves.sort(key=lambda curve: (curve.keys["stage"] != HEADLINE, curve.keys["stage"]))
        yield from ((arm, curve) for curve in curves[:1])


def _rows(arms: Arms, how: CurveSettings) -> Iterator[dict[str, Any]]:
    """Rows of every arm, with Holm over the budgets and arms of one stage, metric and class."""
    found: list[tuple[dict[str, Any], Result]] = []
    for arm, pairs in arms.items():
        for pair, distinct in pairs:
            head = {"arm": arm, "n_distinct": distinct}
            found += [(head | row, result) for row, result in _tested(pair, how)]
    keys = ("split", "stage", "metric", "class")
    groups: dict[tuple[Any, ...], list[int]] = {}
    for place, (row, _) in enumerate(found):
        groups.setdefault(tuple(row[key] for key in keys), []).append(place)
    for places in groups.values():
        results = family([found[place][1] for place in places])
        for place, result in zip(places, results, strict=True):
            tests = {"p": result.p_value, "p_holm": result.details["p_holm"], "note": result.note}
            yield found[place][0] | tests


def _differences(
    pairs: Sequence[tuple[Run, Run]], how: CurveSettings
) -> Iterator[tuple[Curve, int]]:
    """B minus A as curves, and how many pairs of runs are no copies of each other.

    B takes A's names and seeds: what differs between them is matched.
    """
    sides = []
    for side in (0, 1):
        runs = []
        for pair in pairs:
            record = {**pair[side].record, "factors": pair[0].record["factors"]}
            runs.append(replace(pair[side], record=record, variant=""))
        sides.append(curves_of(case_table(runs), how))
    first = {_place(curve): curve for curve in sides[0]}
    for curve in sides[1]:
        base = first.get(_place(curve))
        pair_curve = difference(curve, base) if base else None
        if base and pair_curve is not None and pair_curve.ran().any():
            yield pair_curve, distinct_runs(pair_curve, curve, base)


def _place(curve: Curve) -> tuple[str, ...]:
    return curve.keys["split"], curve.keys["stage"], curve.metric


def _tested(curve: Curve, how: CurveSettings) -> Iterator[tuple[dict[str, Any], Result]]:
    columns = dict(curve.columns())
    for row in curve_rows(curve, how):
        step = curve.budgets.index(row["budget"])
        ran = curve.ran()[step]
        gaps = curve.values[step][ran][:, :, columns[row["class"]]]
        draws = [draw for (draw, _), use in zip(curve.runs, ran, strict=True) if use]
        keys = ("split", "stage", "metric", "class", "budget", "mean", "low", "high",
                "interval_over", "descriptive", "n_draws", "n_seeds", "n_cases",
                "aubc", "aubc_low", "aubc_high", "aubc_seeds")  # fmt: skip
        yield {key: row[key] for key in keys}, _test(gaps, draws, how)


def _test(gaps: np.ndarray, draws: Sequence[int], how: CurveSettings) -> Result:
    """No p-value over fewer than 8 cases, or where a difference is infinite."""
    if gaps.shape[1] < FEW_CLUSTERS:
        return UNKNOWN.noted(f"{gaps.shape[1]} test cases: too few for a test.")
    if np.isinf(gaps).any():
        return UNKNOWN.noted("Infinite distances: no mean to test.")
    try:
        return compare_methods(
            gaps, np.zeros_like(gaps), draws, replicates=how.replicates, seed=how.seed
        )
    except RefusedTest as refusal:
        return UNKNOWN.noted(str(refusal))


def _warnings(match: Match, table: pd.DataFrame) -> Iterator[str]:
    if not match.pairs:
        yield "No cell of A has a counterpart in B."
    for folder in (*match.only_a, *match.only_b):
        yield f"{folder}: no counterpart on the other side, left out."
    hashes = {(run.record.get("split") or {}).get("hash") for pair in match.pairs for run in pair}
    if len(hashes) > 1:
        yield "The splits differ: only test cases that both sides scored are compared."
    if match.pairs and table.empty:
        yield "The paired cells share no budget or no test case."
    if not table.empty and int(table["n_seeds"].max()) == 1:
        yield (
            "One pair of runs: intervals and p-values are over test cases of these two trainings "
            "and say nothing about the methods."
        )


def render(found: Comparison) -> str:
    """The comparison as Markdown."""
    settings = [[row["key"], row["a"], row["b"]] for row in found.settings]
    blocks = ["# B minus A", found.verdict]
    if not found.table.empty:
        blocks += ["## At each budget", markdown(*budget_cells(found.table, found.metric))]
    blocks += [
        "## Where B meets A",
        "\n".join(f"- {row['arm']}: {row['words']}" for row in found.crossings) or "Unknown.",
        "## What a study would need to see a difference (80 % power, two-sided 5 %)",
        markdown(*power_cells(found.power)) if found.power else "Unknown.",
        "## Settings that differ",
        markdown(["setting", "A", "B"], settings) if settings else "None.",
        f"## Cells\n\n{len(found.matched)} paired, {len(found.unmatched['a'])} only in A, "
        f"{len(found.unmatched['b'])} only in B.",
        "## Warnings",
        "\n".join(f"- {line}" for line in found.warnings) or "None.",
    ]
    return "\n\n".join(blocks) + "\n"


def write_comparison(found: Comparison, out: Path) -> dict[str, Path]:
    """Write compare.md, differences (CSV, Parquet) and the curve of differences to `out`."""
    paths = {"compare": out / "compare.md"}
    write_text(paths["compare"], render(found))
    rows = headline(found.table, found.metric)
    if rows.empty:
        return paths
    written = write_table(found.table, out / "differences")
    paths |= {f"differences.{kind}": path for kind, path in written.items()}
    names = {"dataset": "B minus A", "unit": "", "against": "A", "all": ""}
    figure = budget_figure(rows.assign(**names), out / "differences_by_budget",
                           Layout(lines="arm", panels="all", difference=True))  # fmt: skip
    return paths | {f"differences_by_budget.{kind}": path for kind, path in figure.items()}
