"""Cells one after the other in this process, without Ray."""

from __future__ import annotations

from collections.abc import Sequence

from loops.progress import Progress
from loops.studies.attempt import run_one
from loops.studies.ledger import Ledger
from loops.studies.study import Cell, Study


def execute(study: Study, cells: Sequence[Cell], ledger: Ledger) -> dict[str, str]:
    """Run the cells that nobody holds; nothing dies here without this process."""
    if study.settings.parallel_budgets:
        Progress().say("parallel_budgets: one process takes one budget after the other")
    for cell in cells:
        if not cell.done:  # another sweep may have been faster
            run_one(cell, ledger, Progress(prefix=f"{cell.name}: ", enabled=False))
    return {}
