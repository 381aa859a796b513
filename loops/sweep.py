"""A study is swept: cells that nobody finished are run, by whatever backend; the ledger is ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from loops.progress import Progress
from loops.studies.attempt import run_job
from loops.studies.backends import ray_tune, serial, slurm
from loops.studies.expected import expected
from loops.studies.ledger import Ledger
from loops.studies.parts import jobs_of
from loops.studies.standing import rows, study_status, write_study
from loops.studies.study import Cell, Study
from salearn.errors import ConfigError

__all__ = ["plan", "study_status", "sweep"]

POLL_SECONDS = 2.0
EXECUTE = {"ray": ray_tune.execute, "serial": serial.execute}


def sweep(
    study: Study, progress: Progress | None = None, only: Sequence[str] = ()
) -> dict[str, Any]:
    """Run the cells that are not done; one bad cell does not stop the others.

    Several sweeps may work on one study at once: they share the cells.

    Args:
        only: keys of cells; the others are left alone. A cell that another process holds is then
            waited for no longer than it takes to find out whether that process is alive.
            "KEY:2" is round 2 of a cell whose budgets run side by side.

    Returns:
        {"study", "cells", "ran", "elsewhere", "skipped", "failed", "results"}, results one row a
        cell; "elsewhere" counts cells that other sweeps ran meanwhile.
    """
    progress = progress or Progress()
    ledger = Ledger(study.out, study.settings.stale)
    todo = [cell for cell in _chosen(study, only) if not cell.done]
    write_study(study, ledger)
    if todo:
        progress.say(f"{study.settings.name}: {len(todo)} of {len(study.cells)} cells to run")
        with _watched(todo, progress):
            if any(":" in name for name in only):
                _run_parts(study, todo, ledger, progress, only)
            else:
                patience = 2 * study.settings.stale if only else None
                _drive(study, todo, ledger, progress, patience)
    write_study(study, ledger)
    done = [cell for cell in todo if cell.done]
    ran = [cell for cell in done if ledger.mine(cell)]
    return _document(study, ledger, todo) | {"ran": len(ran), "elsewhere": len(done) - len(ran)}


def plan(study: Study) -> dict[str, Any]:
    """What a sweep would do: the same document with "would_run" and "expected", nothing run."""
    ledger = Ledger(study.out, study.settings.stale)
    todo = [cell for cell in study.cells if not cell.done]
    return _document(study, ledger, todo) | {
        "failed": 0,
        "would_run": [cell.name for cell in todo],
        "expected": expected(study, ledger, todo),
    }


def queue(study: Study, submit: bool = False) -> dict[str, Any]:
    """Write Slurm arrays of the cells that are not done, and hand them to sbatch on request.

    Returns:
        The document of `plan` with "slurm": {"scripts", "tasks", "jobs"}; `status` follows them.

    Raises:
        ConfigError: there is no sbatch here; the files are written all the same.
    """
    ledger = Ledger(study.out, study.settings.stale)
    free = [c for c in study.cells if not c.done and ledger.free(c)]
    write_study(study, ledger)
    written = slurm.write(study, free, ledger)
    jobs = slurm.submit(written["scripts"]) if submit and free else []
    return plan(study) | {"slurm": written | {"jobs": jobs}}


def _document(study: Study, ledger: Ledger, todo: Sequence[Cell]) -> dict[str, Any]:
    results = rows(study, ledger)
    return {
        "study": str(study.out),
        "cells": len(study.cells),
        "ran": 0,
        "elsewhere": 0,
        "skipped": len(study.cells) - len(todo),
        "failed": len([row for row in results if row["status"] == "failed"]),
        "results": results,
    }


def _chosen(study: Study, only: Sequence[str]) -> list[Cell]:
    only = [name.partition(":")[0] for name in only]
    strangers = set(only) - {cell.key for cell in study.cells}
    if strangers:
        raise ConfigError(
            f"--cell {sorted(strangers)[0]}: no such cell; `salearn sweep STUDY --dry-run --json` "
            "lists the keys"
        )
    return [cell for cell in study.cells if not only or cell.key in only]


def _run_parts(
    study: Study, cells: Sequence[Cell], ledger: Ledger, progress: Progress, only: Sequence[str]
) -> None:
    """Run the named parts in this process, e.g. in a task of a Slurm array."""
    for job in jobs_of(study, cells, progress.say):
        if job.round is None or job.name in only:  # whole: its parts are done, or it has none
            run_job(job, ledger, progress)


def _drive(
    study: Study,
    todo: Sequence[Cell],
    ledger: Ledger,
    progress: Progress,
    patience: float | None = None,
) -> None:
    """Run what is free, until every cell is done or failed, here or in another sweep."""
    execute = EXECUTE[study.settings.backend]
    before = {cell.key: ledger.ended(cell) for cell in todo}
    dead: dict[str, str] = {}
    since: float | None = None
    while left := [cell for cell in todo if not ledger.settled(cell, before[cell.key])]:
        free = [cell for cell in left if ledger.free(cell)]
        for cell in free:
            if cell.key in dead:
                ledger.fail(cell, dead[cell.key])
        ready = [cell for cell in free if cell.key not in dead]
        if ready:
            dead |= execute(study, ready, ledger)
            since = None
        elif not free:
            if since is None:
                since = time.monotonic()
                progress.say(f"waiting for {len(left)} cells that other processes hold")
            if patience is not None and time.monotonic() - since > patience:
                return
            time.sleep(POLL_SECONDS)


@contextmanager
def _watched(cells: Sequence[Cell], progress: Progress) -> Iterator[None]:
    """Show finished rounds of all cells while they run, read from their logs."""
    end = threading.Event()
    total = sum(cell.num_rounds for cell in cells)

    def watch() -> None:
        with progress.stage("rounds") as report:
            while not end.wait(POLL_SECONDS):
                report(sum(cell.rounds_done for cell in cells), total, {})

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
