"""Tables beside the curve: classes, stages, pseudo-labels, validation against test."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from salearn.metrics.evaluate import MEAN
from salearn.report.blocks import Table
from salearn.report.figures import NAMES
from salearn.report.parts import Part, learner_of
from salearn.report.runs import Run
from salearn.report.tables import ordered
from salearn.report.text import arms, interval, number

if TYPE_CHECKING:
    import pandas as pd

STAGES = ("sam", "student", "teacher")


def class_cells(part: Part, metrics: Sequence[str], name: str) -> Table:
    """Every class at the last budget of each arm, with intervals."""
    single = part.curve[part.curve["class"] != MEAN]
    classes = list(dict.fromkeys(single["class"]))
    rows = []
    for names, table in arms(single):
        last = table[table["budget"] == table["budget"].max()]
        at = {(row["metric"], row["class"]): row for _, row in last.iterrows()}
        cells = [_cell(at.get((metric, which))) for metric in metrics for which in classes]
        rows.append([*names, str(last["budget"].iloc[0]), *cells])
    heads = [f"{NAMES.get(metric, metric)} {which}" for metric in metrics for which in classes]
    return Table(
        name=name,
        caption=f"Each class at the last budget, test cases, stage {part.stage}",
        headers=["strategy", "learner", "annotated", *heads],
        rows=rows,
        fixed=2,
    )


def stage_cells(part: Part, metric: str, name: str) -> Table:
    """SAM3 alone, student and EMA teacher at the last budget, mean over classes."""
    table = _mean(part, metric, "test")
    stages = (*STAGES, *sorted(set(table["stage"]) - set(STAGES)))
    shown = [stage for stage in stages if stage in set(table["stage"])]
    rows = []
    for names, found in arms(table):
        last = found[found["budget"] == found["budget"].max()]
        at = {row["stage"]: row for _, row in last.iterrows()}
        rows.append([*names, str(last["budget"].iloc[0]), *(_cell(at.get(s)) for s in shown)])
    return Table(
        name=name,
        caption=f"{NAMES.get(metric, metric)} of each stage at the last budget, test cases",
        headers=["strategy", "learner", "annotated", *shown],
        rows=rows,
        fixed=2,
    )


def gap_cells(part: Part, metric: str, name: str) -> Table | None:
    """Validation minus test at each arm's last budget; None without validation cases."""
    both = {split: _mean(part, metric, split) for split in ("validation", "test")}
    if both["validation"].empty:
        return None
    rows = []
    for names, found in arms(both["test"][both["test"]["stage"] == part.stage]):
        here = found[found["budget"] == found["budget"].max()].iloc[0]
        other = both["validation"]
        same = (other["strategy"] == names[0]) & (other["learner"] == names[1])
        same &= (other["budget"] == here["budget"]) & (other["stage"] == part.stage)
        if same.any():
            there = other[same].iloc[0]
            gap = number(float(there["mean"] - here["mean"]), metric, sign=True)
            rows.append([*names, str(here["budget"]), _cell(there), _cell(here), gap])
    return Table(
        name=name,
        caption=f"{NAMES.get(metric, metric)} on validation and test cases at the last budget",
        headers=["strategy", "learner", "annotated", "validation", "test", "validation - test"],
        rows=rows,
        fixed=2,
    )


def _mean(part: Part, metric: str, split: str) -> pd.DataFrame:
    table = part.every
    return table[(table["class"] == MEAN) & (table["metric"] == metric) & (table["split"] == split)]


def _cell(row: Any) -> str:
    return "-" if row is None else interval(row, False)


def pseudo_cells(runs: Iterable[Run], name: str) -> Table | None:
    """Confidence and number of believed pseudo-labels, and the Dice of their maker on test cases.

    None if no run made pseudo-labels.
    """
    found: dict[tuple[str, str, int], list[dict[str, float]]] = {}
    for run in runs:
        for record in run.rounds:
            if record.get("pseudo"):
                place = (str(run.factors["strategy"]), learner_of(run.factors),
                         int(record["num_labeled"]))  # fmt: skip
                found.setdefault(place, []).append({**record["pseudo"], "dice": _sam_dice(record)})
    if not found:
        return None
    order = {label: k for k, label in enumerate(ordered({p for key in found for p in key[:2]}))}
    keys = sorted(found, key=lambda key: (order[key[0]], order[key[1]], key[2]))
    return Table(
        name=name,
        caption="Pseudo-labels: how sure their maker is, and how good it is",
        headers=["strategy", "learner", "annotated", "believed / made", "confidence, mean",
                 "confidence, lowest", "Dice of SAM3 on test cases"],
        rows=[[key[0], key[1], str(key[2]), *_pseudo(found[key])] for key in keys],
        fixed=2,
        note="Means over seeds; the confidence is the one that the run selects by. The masks of "
        "unlabeled cases stay closed, so quality is that of the same model on test cases.",
    )  # fmt: skip


def _sam_dice(record: Any) -> float:
    for row in record.get("metrics", []):
        if (row["split"], row["stage"], row["class"]) == ("test", "sam", MEAN):
            return float(row["dice"]) if row["dice"] is not None else math.nan
    return math.nan


def _pseudo(rows: Sequence[dict[str, float]]) -> list[str]:
    mean = {key: sum(float(row[key]) for row in rows) / len(rows) for key in rows[0]}
    believed = f"{mean['num_believed']:.4g} / {mean['num_cases']:.4g}"
    shown = [number(mean[key], "dice") for key in ("confidence_mean", "confidence_min", "dice")]
    return [believed, *shown]
