"""One attempt at one cell: what every backend runs, wherever the process is."""

from __future__ import annotations

import resource
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal

from loops.progress import Progress, Report
from loops.studies.ledger import Ledger
from loops.studies.study import Cell, run_config
from salearn.claims import Claim
from salearn.store import write_text

Outcome = Literal["done", "failed", "held", "lost"]
LOOK_SECONDS = 1.0


class LostError(RuntimeError):
    """Another process took this one for dead and began the next attempt at the cell."""


class Guarded(Progress):
    """Progress that stops the run once its claim is lost."""

    def __init__(self, progress: Progress, claim: Claim) -> None:
        super().__init__()
        self._inner, self._claim, self._looked = progress, claim, 0.0

    def say(self, text: str) -> None:
        """One plain sentence."""
        self._look()
        self._inner.say(text)

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """A callback (done, total, values) that shows how far the stage is."""
        self._look()
        with self._inner.stage(name) as report:

            def guarded(done: int, total: int, values: dict[str, float]) -> None:
                self._look()
                report(done, total, values)

            yield guarded

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        if self._claim.lost:
            raise LostError(f"{self._claim.path}: another process took over")


def run_one(cell: Cell, ledger: Ledger, progress: Progress) -> Outcome:
    """Run one cell unless it is held; what goes wrong stands beside it and in the ledger."""
    claim = ledger.take(cell)
    if claim is None:
        return "held"
    try:
        outcome, cause = _run(cell, Guarded(progress, claim))
    except BaseException:  # Ctrl-C: the next sweep goes on
        claim.end("stopped")
        raise
    claim.end(outcome, error=cause, peak_mb=_peak_mb())
    return outcome


def _run(cell: Cell, progress: Progress) -> tuple[Outcome, str | None]:
    from loops.cell import run_cell

    try:
        if not cell.done:
            run_cell(run_config(cell), progress)
    except LostError as error:
        return "lost", str(error)
    except Exception as error:  # one bad cell must not stop the others
        with suppress(OSError):
            write_text(cell.out / "error.txt", traceback.format_exc())
        return "failed", f"{type(error).__name__}: {error}"
    (cell.out / "error.txt").unlink(missing_ok=True)
    return "done", None


def _peak_mb() -> int:
    """Peak memory of this process so far, MiB (Linux counts KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def order(cell: Cell, ledger: Ledger) -> dict[str, Any]:
    """A cell as plain values: what travels to a worker."""
    values = {field.name: getattr(cell, field.name) for field in fields(cell)}
    ledger_of = {"out": str(ledger.out), "stale": ledger.claims.stale, "sweep": ledger.sweep}
    return values | {"out": str(cell.out), "ledger": ledger_of, "cwd": str(Path.cwd())}


def from_order(order: dict[str, Any]) -> tuple[Cell, Ledger]:
    """The cell and the ledger that an order describes."""
    values = {k: v for k, v in order.items() if k not in ("ledger", "cwd")}
    ledger = order["ledger"] | {"out": Path(order["ledger"]["out"])}
    return Cell(**(values | {"out": Path(values["out"])})), Ledger(**ledger)
