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
from loops.studies.parts import Job, all_ended, forget, gather, take_part, train_round
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
    _forget_peak()
    try:
        outcome, cause = _run(cell, Guarded(progress, claim))
    except BaseException:  # Ctrl-C: the next sweep goes on
        claim.end("stopped")
        raise
    claim.end(outcome, error=cause, peak_mb=_peak_mb())
    return outcome


def run_job(job: Job, ledger: Ledger, progress: Progress) -> Outcome:
    """Run a cell, or a part of it; the part that ends last runs the cell."""
    if job.round is None:
        return run_one(job.cell, ledger, progress)
    stale = ledger.claims.stale
    claim = take_part(job, stale, {"sweep": ledger.sweep})
    if claim is None:
        return "held"
    try:
        train_round(job, Guarded(progress, claim))
        outcome: Outcome = "done"
    except LostError:
        outcome = "lost"
    except Exception:  # the cell, run as always, meets it again and says so
        outcome = "failed"
    except BaseException:
        claim.end("stopped")
        raise
    claim.end(outcome)
    return run_one(job.cell, ledger, progress) if all_ended(job.cell, stale) else outcome


def _run(cell: Cell, progress: Progress) -> tuple[Outcome, str | None]:
    from loops.cell import run_cell

    try:
        if not cell.done:
            gather(cell.out)
            run_cell(run_config(cell), progress)
    except LostError as error:
        return "lost", str(error)
    except Exception as error:  # one bad cell must not stop the others
        with suppress(OSError):
            write_text(cell.out / "error.txt", traceback.format_exc())
        return "failed", f"{type(error).__name__}: {error}"
    (cell.out / "error.txt").unlink(missing_ok=True)
    forget(cell.out)
    return "done", None


def _forget_peak() -> None:
    """A worker runs many cells: peak memory is counted from the start of each (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> int:
    """Peak resident memory since `_forget_peak`, MiB."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def order(job: Job, ledger: Ledger) -> dict[str, Any]:
    """A job as plain values: what travels to a worker."""
    cell = job.cell
    values = {field.name: getattr(cell, field.name) for field in fields(cell)}
    ledger_of = {"out": str(ledger.out), "stale": ledger.claims.stale, "sweep": ledger.sweep}
    part = {"round": job.round, "units": [list(units) for units in job.units]}
    told = {"ledger": ledger_of, "cwd": str(Path.cwd()), "part": part}
    return values | {"out": str(cell.out)} | told


def from_order(order: dict[str, Any]) -> tuple[Job, Ledger]:
    """The job and the ledger that an order describes."""
    values = {k: v for k, v in order.items() if k not in ("ledger", "cwd", "part")}
    ledger = order["ledger"] | {"out": Path(order["ledger"]["out"])}
    cell = Cell(**(values | {"out": Path(values["out"])}))
    units = tuple(tuple(one) for one in order["part"]["units"])
    return Job(cell=cell, round=order["part"]["round"], units=units), Ledger(**ledger)
