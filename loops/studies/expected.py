"""What cells will cost, from the timings of finished cells of the same kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from loops.studies.ledger import Ledger
from loops.studies.study import Cell, Study
from salearn.store import read_lines


def core_seconds(folder: Path) -> float:
    """CPU-seconds of all timed stages of a run, in all its attempts."""
    return float(sum(line["cpu_seconds"] for line in read_lines(folder / "timings.jsonl")))


def finished(study: Study, ledger: Ledger) -> dict[str, list[Path]]:
    """Folders of finished cells by kind, also of cells that the study no longer names."""
    known = {cell.key for cell in study.cells}
    folders: dict[str, list[Path]] = {}
    for cell in study.cells:
        if cell.done:
            folders.setdefault(cell.kind, []).append(cell.out)
    for key in ledger.claims.known():
        last = ledger.claims.last(key) or {}
        if key not in known and last["state"] == "done":
            folders.setdefault(last["kind"], []).append(study.out / "cells" / last["name"])
    return folders


def expected(study: Study, ledger: Ledger, todo: Sequence[Cell]) -> dict[str, Any]:
    """Core-hours (and GPU-hours) that `todo` will take.

    Returns:
        {"core_hours", "gpu_hours", "known", "unknown", "kinds"}: hours of the `known` cells, the
        number of cells of whose kind none is finished, and what each kind rests on. The first
        cells of a study also pay for what later ones find in the store, so hours are rather high.
    """
    folders = finished(study, ledger)
    rows = [_kind_row(kind, cells, folders.get(kind, ())) for kind, cells in _by_kind(todo).items()]
    known = [row for row in rows if row["hours_a_cell"] is not None]
    hours = sum(row["cells"] * row["hours_a_cell"] for row in known)
    settings = study.settings
    return {
        "core_hours": round(hours, 4) if known else None,
        "gpu_hours": round(hours * settings.gpu / settings.cpu, 4) if known else None,
        "known": sum(row["cells"] for row in known),
        "unknown": sum(row["cells"] for row in rows if row["hours_a_cell"] is None),
        "kinds": rows,
    }


def _by_kind(cells: Iterable[Cell]) -> dict[str, list[Cell]]:
    kinds: dict[str, list[Cell]] = {}
    for cell in cells:
        kinds.setdefault(cell.kind, []).append(cell)
    return kinds


def _kind_row(kind: str, cells: Sequence[Cell], folders: Sequence[Path]) -> dict[str, Any]:
    seconds = [core_seconds(folder) for folder in folders]
    return {
        "kind": kind,
        "learner": cells[0].values.get("learner", "supervised"),
        "cells": len(cells),
        "from_cells": len(seconds),
        "hours_a_cell": mean(seconds) / 3600 if seconds else None,
    }


def sentence(found: Mapping[str, Any]) -> str:
    """The same for people."""
    if found["core_hours"] is None:
        return "expected core-hours: unknown, no cell with these settings is finished yet"
    rest = f"; {found['unknown']} cells of unknown cost" if found["unknown"] else ""
    gpu = f", {found['gpu_hours']:.3g} GPU-hours" if found["gpu_hours"] else ""
    return f"expected: {found['core_hours']:.3g} core-hours{gpu} for {found['known']} cells{rest}"


def memory_mb(study: Study, ledger: Ledger) -> dict[str, int]:
    """Memory that a cell of each kind will hold, MiB: as set, or the peak of finished ones."""
    found = peaks(ledger)
    if study.settings.memory_gb is not None:
        return {cell.kind: int(study.settings.memory_gb * 1024) for cell in study.cells}
    return {cell.kind: found[cell.kind] for cell in study.cells if cell.kind in found}


def peaks(ledger: Ledger) -> dict[str, int]:
    """Peak memory by kind, MiB, of finished attempts."""
    found: dict[str, int] = {}
    for key in ledger.claims.known():
        last = ledger.claims.last(key) or {}
        if last["state"] == "done" and "peak_mb" in last:
            found[last["kind"]] = max(found.get(last["kind"], 0), last["peak_mb"])
    return found
