"""The table: one row per mode, setting and class; oracle prompts never beside automated ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from loops.interactive.config import InteractiveSettings
from salearn.metrics.evaluate import MEAN
from salearn.prompts.door import AUTOMATED, ORACLE
from salearn.prompts.scores import ClickCurve, number_of_clicks

Rows = list[dict[str, Any]]
COLUMNS = ("mode", "setting", "class", "automated_dice", "oracle_dice", "slice_dice", "cases",
           "objects", "column")  # fmt: skip


def summarise(rows: Rows, classes: Sequence[str]) -> Rows:
    """Means over cases, then over classes; the Dice stands under "automated" or "oracle".

    "objects" are classes on slices. A row never fills both columns, so that no ranking can mix
    what needs a reference with what does not.
    """
    found: Rows = []
    for mode, setting in dict.fromkeys((row["mode"], row["setting"]) for row in rows):
        here = [row for row in rows if (row["mode"], row["setting"]) == (mode, setting)]
        means = [_mean(here, name) for name in classes if any(r["class"] == name for r in here)]
        total = {
            "class": MEAN,
            "dice": float(np.mean([m["dice"] for m in means])),
            "slice_dice": float(np.mean([m["slice_dice"] for m in means])),
            "cases": max(m["cases"] for m in means),
            "objects": sum(m["objects"] for m in means),
        }
        found += [_labelled(mode, setting, row) for row in (*means, total)]
    return found


def _mean(rows: Rows, name: str) -> dict[str, Any]:
    own = [row for row in rows if row["class"] == name]
    return {
        "class": name,
        "dice": float(np.mean([row["dice"] for row in own])),
        "slice_dice": float(np.mean([row["slice_dice"] for row in own])),
        "cases": len(own),
        "objects": sum(row["slices"] for row in own),
    }


def _labelled(mode: str, setting: str, row: Mapping[str, Any]) -> dict[str, Any]:
    automated = mode == "text" or setting == "0 clicks"
    return {
        "mode": mode, "setting": setting, "class": row["class"],
        "automated_dice": row["dice"] if automated else None,
        "oracle_dice": None if automated else row["dice"],
        "slice_dice": row["slice_dice"], "cases": row["cases"], "objects": row["objects"],
        "column": AUTOMATED if automated else ORACLE,
    }  # fmt: skip


def clicks_needed(curves: Mapping[str, Sequence[ClickCurve]], given: InteractiveSettings) -> Rows:
    """NoC@dice of every class and over all of them; objects that fail count `max_clicks`.

    Nothing where nobody clicked at all.
    """
    groups = {name: list(own) for name, own in curves.items()}
    groups["all"] = [curve for own in curves.values() for curve in own]
    if not groups["all"]:
        return []
    return [
        {"class": name, "dice": dice, "objects": len(own), "max_clicks": given.max_clicks,
         "column": ORACLE} | number_of_clicks(own, dice, given.max_clicks)
        for name, own in groups.items()
        for dice in given.noc
    ]  # fmt: skip


def as_csv(rows: Rows) -> str:
    """The table as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: row[name] for name in COLUMNS} for row in rows)
    return text.getvalue()


def render(result: Mapping[str, Any]) -> str:
    """The table for people."""
    lines = [f"detector: {result['models']['detector']['states']}",
             f"tracker:  {result['models']['tracker']['states']}", ""]  # fmt: skip
    lines += [f"{'class':<12}{'best text':>11}{'mean':>8}{'worst':>8}{'averaged':>10}"]
    lines += [
        f"{row['class']:<12}{row['best']['dice']:>11.3f}{row['mean']:>8.3f}"
        f"{row['worst']['dice']:>8.3f}{row['averaged']:>10.3f}   best: {row['best']['text']}"
        for row in result["texts"]
    ]
    lines += ["", f"{'mode':<13}{'setting':<24}{'automated':>10}{'oracle':>9}   mean over classes"]
    for row in result["table"]:
        if row["class"] == MEAN:
            cells = [row["automated_dice"], row["oracle_dice"]]
            shown = ["-" if cell is None else f"{cell:.3f}" for cell in cells]
            lines.append(f"{row['mode']:<13}{row['setting']:<24}{shown[0]:>10}{shown[1]:>9}")
    for row in result["clicks_needed"]:
        if row["class"] == "all":
            lines.append(
                f"NoC@{row['dice']:g}: {row['noc']:.2f} of at most {row['max_clicks']} clicks, "
                f"{row['failed']:.0%} of {row['objects']} objects never get there"
            )
    return "\n".join([*lines, f"({ORACLE})"])
