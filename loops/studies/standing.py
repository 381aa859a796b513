"""How far a study is: its rows, fresh from the ledger and the logs of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from loops.studies.ledger import Ledger
from loops.studies.study import Cell, Study
from salearn.claims import STALE_SECONDS
from salearn.errors import ConfigError
from salearn.store import read_json, read_lines, write_json


def rows(study: Study, ledger: Ledger) -> list[dict[str, Any]]:
    """One row a cell: factors, status, error, last metrics."""
    return [_row(cell, ledger) for cell in study.cells]


def write_study(study: Study, ledger: Ledger) -> None:
    """Write study.json: what the study holds, for `status` and `report`."""
    values = {
        "name": study.settings.name,
        "stale": study.settings.stale,
        "cells": rows(study, ledger),
    }
    write_json(study.out / "study.json", values)


def _row(cell: Cell, ledger: Ledger) -> dict[str, Any]:
    found = ledger.standing(cell.key, cell.out, cell.num_rounds)
    records = read_lines(cell.out / "rounds.jsonl")
    final = [row for row in records[-1]["metrics"] if row["class"] == "mean"] if records else []
    return {
        "key": cell.key,
        "kind": cell.kind,
        "folder": f"cells/{cell.name}",
        "factors": cell.factors,
        "num_rounds": cell.num_rounds,
        "final": final,
    } | found


def study_status(folder: Path, ledger: Ledger | None = None) -> dict[str, Any]:
    """The state of a study folder: {"name", "cells", "counts", "seconds_left", ...}.

    Args:
        ledger: of an earlier call; only one that looks twice can tell that a worker on another
            machine has died.

    Raises:
        ConfigError: the folder holds no study.json.
    """
    path = folder / "study.json"
    if not path.exists():
        raise ConfigError(f"{path}: no study here; start one with `salearn sweep STUDY`")
    study: dict[str, Any] = read_json(path)
    ledger = ledger or Ledger(folder, study.get("stale", STALE_SECONDS))
    for row in study["cells"]:
        total = row.get("num_rounds", 1)
        row |= ledger.standing(row["key"], folder / row["folder"], total)
    counts: dict[str, int] = {}
    for row in study["cells"]:
        counts[row["status"]] = counts.get(row["status"], 0) + 1
    return study | {"counts": counts, "seconds_left": seconds_left(study["cells"])}


def seconds_left(cells: Sequence[dict[str, Any]]) -> float | None:
    """Seconds until the cells that can run are done, at the pace of finished ones of their kind.

    As many go on at once as run now. None: nothing runs, or no cell of some kind is finished.
    """
    took: dict[str, list[float]] = {}
    for row in cells:
        if row["status"] == "done" and row.get("seconds"):
            took.setdefault(row.get("kind", ""), []).append(row["seconds"])
    running = [row for row in cells if row["status"] == "running"]
    open_rows = [row for row in cells if row["status"] not in ("done", "failed")]
    if not running or any(row.get("kind", "") not in took for row in open_rows):
        return None
    left = 0.0
    for row in open_rows:
        spent = (row.get("seconds") or 0.0) if row["status"] == "running" else 0.0
        left += max(mean(took[row.get("kind", "")]) - spent, 0.0)
    return round(left / len(running), 1)
