"""The section on arms of SAM3: what a study of learner "sam" has to show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from salearn.report.aggregate import CurveSettings
from salearn.report.arm_costs import (
    area_table,
    cost_table,
    outside_table,
    point_table,
    trivial_table,
    zero_shot_first,
)
from salearn.report.arm_tables import (
    Row,
    crossing_rows,
    crossing_table,
    curve_table,
    delta_table,
    family_table,
    retention_table,
)
from salearn.report.arms import INSIDE, OUTSIDE, ArmRuns, arms_of
from salearn.report.blocks import Block, Table, Text
from salearn.report.runs import Run
from salearn.report.text import markdown

TITLE = "Arms of SAM3"


def arm_blocks(runs: Sequence[Run], how: CurveSettings, slug: str) -> list[Block]:
    """All tables of the section, one set for each list of budgets; [] without such runs.

    Where a single seed was run, nothing is called a crossover.
    """
    blocks: list[Block] = []
    arms = sorted(arms_of(runs), key=lambda arm: arm.budgets)
    for k, (_, part) in enumerate(groupby(arms, lambda arm: arm.budgets)):
        same = arms_of([run for arm in part for run in arm.runs])
        blocks += _group(same, how, f"{slug}_{k}" if k else slug)
    return blocks


def _group(arms: Sequence[ArmRuns], how: CurveSettings, slug: str) -> list[Block]:
    crossings = crossing_rows(arms, how)
    tables = [
        curve_table(arms, INSIDE, how, f"arms_{slug}"),
        curve_table(arms, OUTSIDE, how, f"arms_external_{slug}"),
        trivial_table(arms, f"arm_trivial_{slug}"),
        retention_table(arms, how, f"retention_{slug}"),
        delta_table(crossings, arms, f"arm_deltas_{slug}") if crossings else None,
        crossing_table(crossings, f"arm_readings_{slug}") if crossings else None,
        family_table(arms, how, f"arm_families_{slug}"),
        outside_table(arms, how, f"arm_places_{slug}"),
        point_table(arms, f"arm_thresholds_{slug}"),
        area_table(arms, f"arm_auc_{slug}"),
        cost_table(arms, f"arm_costs_{slug}"),
    ]
    return [*(table for table in tables if table), Text(items=tuple(_doubts(arms, crossings)))]


def _doubts(arms: Sequence[ArmRuns], crossings: Sequence[Row]) -> Iterator[str]:
    """What weakens this comparison, found in the runs."""
    seeds = min(len(arm.runs) for arm in arms)
    if seeds < 3:
        yield (
            f"{seeds} run(s) of an arm: fewer than the 3 draws that a budget curve asks for; at 10 "
            "% of the pool and below it asks for 5."
        )
    if not zero_shot_first(arms):
        yield "No zero-shot arm: what the weights can do without training is not known here."
    if not crossings:
        yield "No arm shares seeds and budgets with full fine-tuning, so no curves can meet."
    yield from _at_edges(arms)
    validation = {(run.record.get("split") or {}).get("validation") for a in arms for run in a.runs}
    used = any((told or {}).get("tries") for arm in arms for told in arm.said("rate"))
    if used or any((t or {}).get("rule") == "first" for a in arms for t in a.said("rate")):
        count = "/".join(str(n) for n in sorted(validation, key=str))
        yield (
            f"Learning rates were chosen on {count} validation cases, the same for all arms and "
            "budgets; their masks come on top of every budget."
        )


def _at_edges(arms: Sequence[ArmRuns]) -> Iterator[str]:
    """Arms whose chosen rate was the first or last that they tried: a better one may lie beyond."""
    for arm in arms:
        told = [r.get("rate") or {} for run in arm.runs for r in run.rounds]
        chosen = [
            (t["chosen"], [one["rate"] for one in t["tries"]]) for t in told if t.get("tries")
        ]
        for word, end in (("lowest", min), ("highest", max)):
            count = sum(rate == end(grid) for rate, grid in chosen if len(grid) > 1)
            if count:
                yield (
                    f"{arm.name}: {count} of {len(chosen)} chosen rates are the {word} of the "
                    "grid; a better one may lie beyond."
                )


def arm_lines(runs: Sequence[Run], how: CurveSettings, slug: str) -> list[str]:
    """The section as Markdown, for the summary."""
    lines: list[str] = []
    for block in arm_blocks(runs, how, slug):
        if isinstance(block, Table):
            lines += [f"### {block.caption}", markdown(block.headers, block.rows), block.note]
        elif isinstance(block, Text) and block.items:
            lines.append("\n".join(f"- {item}" for item in block.items))
    return lines


def arm_frames(runs: Sequence[Run], how: CurveSettings, slug: str) -> dict[str, Any]:
    """Tidy tables for files: the curve of every arm, split and budget."""
    import pandas as pd

    from salearn.report.arm_tables import curve_row

    rows: list[dict[str, Any]] = []
    for arm in arms_of(runs):
        for split in (INSIDE, OUTSIDE):
            scores = arm.scores(split)
            if scores is None:
                continue
            found = curve_row(arm, scores, how)
            rows += [
                {"arm": arm.name, "split": split, "budget": budget, "mean": found["mean"][k],
                 "low": found["low"][k], "high": found["high"][k], "runs": len(arm.runs),
                 "patients": len(scores.units)}
                for k, budget in enumerate(arm.budgets)
            ]  # fmt: skip
    return {f"arm_curves_{slug}": pd.DataFrame(rows)} if rows else {}
