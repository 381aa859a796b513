"""Cells -> Ray Tune trials; the ledger is ours, Ray is the executor."""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from loops.progress import Progress
from loops.study import Cell, Study, run_config
from salearn.errors import ConfigError
from salearn.store import append_line, read_json, read_lines, write_json, write_text

SOCKET_PATH_LIMIT = 40  # Ray's sockets lie below its temporary root; AF_UNIX paths end at 107 bytes
POLL_SECONDS = 2.0


def sweep(study: Study, progress: Progress | None = None) -> dict[str, Any]:
    """Run the cells that are not done; one bad cell does not stop the others.

    Returns:
        {"study", "cells", "ran", "skipped", "failed", "results"}, results one row a cell.
    """
    progress = progress or Progress()
    todo = [cell for cell in study.cells if not cell.done]
    _write_study(study)
    if todo:
        progress.say(f"{study.settings.name}: {len(todo)} of {len(study.cells)} cells to run")
        execute = {"ray": _with_ray, "serial": _serially}[study.settings.backend]
        with _watched(todo, progress):
            execute(study, todo)
    _write_study(study)
    rows = _results(study)
    return {
        "study": str(study.out),
        "cells": len(study.cells),
        "ran": len([cell for cell in todo if cell.done]),
        "skipped": len(study.cells) - len(todo),
        "failed": len([row for row in rows if row["status"] == "failed"]),
        "results": rows,
    }


def run_one(cell: Cell, ledger: Path, progress: Progress) -> bool:
    """Run one cell; whatever goes wrong is written down beside it and into the ledger."""
    from loops.cell import run_cell

    try:
        run_cell(run_config(cell), progress)
    except Exception as error:  # one bad cell must not stop the others
        write_text(cell.out / "error.txt", traceback.format_exc())
        append_line(ledger, _line(cell, "failed", f"{type(error).__name__}: {error}"))
        return False
    (cell.out / "error.txt").unlink(missing_ok=True)
    append_line(ledger, _line(cell, "done", None))
    return True


def _line(cell: Cell, status: str, error: str | None) -> dict[str, Any]:
    return {"key": cell.key, "name": cell.name, "status": status, "error": error}


def _serially(study: Study, todo: Sequence[Cell]) -> None:
    for cell in todo:
        run_one(cell, study.out / "ledger.jsonl", Progress(prefix=f"{cell.name}: ", enabled=False))


def _with_ray(study: Study, todo: Sequence[Cell]) -> None:
    settings = study.settings
    orders = [_order(cell, study.out / "ledger.jsonl") for cell in todo]
    with _ray(study) as tune:
        tuner = tune.Tuner(
            tune.with_resources(run_trial, {"cpu": settings.cpu, "gpu": settings.gpu}),
            param_space={"cell": tune.grid_search(orders)},
            tune_config=tune.TuneConfig(max_concurrent_trials=settings.parallel),
            run_config=tune.RunConfig(
                name="tune",
                storage_path=str((study.out / "ray").resolve()),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=settings.retries),
            ),
        )
        tuner.fit()


def _order(cell: Cell, ledger: Path) -> dict[str, Any]:
    """A cell as plain values: what travels to a worker."""
    values = {field.name: getattr(cell, field.name) for field in fields(cell)}
    return values | {"out": str(cell.out), "ledger": str(ledger.resolve())}


def run_trial(config: dict[str, Any]) -> None:
    """One Ray Tune trial: run the cell that `config["cell"]` describes."""
    from ray import tune

    order = dict(config["cell"])
    ledger = Path(order.pop("ledger"))
    cell = Cell(**(order | {"out": Path(order["out"])}))
    with _log_file(cell.out / "progress.log"):
        ok = run_one(cell, ledger, Progress())
    tune.report({"ok": ok, "rounds_done": cell.rounds_done})


@contextmanager
def _log_file(path: Path) -> Iterator[None]:
    """Standard error of a worker goes beside its cell."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before = sys.stderr
    with path.open("a", buffering=1) as handle:
        sys.stderr = handle
        try:
            yield
        finally:
            sys.stderr = before


@contextmanager
def _ray(study: Study) -> Iterator[Any]:
    """A local Ray without dashboard, workers at niceness 0, bounded shared memory."""
    os.environ.update(
        RAY_worker_niceness="0",
        RAY_CHDIR_TO_TRIAL_DIR="0",
        TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
        RAY_AIR_NEW_OUTPUT="0",
        RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    )
    try:
        import ray
        from ray import tune
    except ImportError:
        raise ConfigError(
            "study.backend=ray needs Ray: pip install 'salearn[tune]', or set study.backend=serial"
        ) from None
    with tempfile.TemporaryDirectory(prefix="ray", dir=_short_root()) as root:
        ray.init(
            include_dashboard=False,
            object_store_memory=study.settings.object_store_mb * 2**20,
            num_cpus=os.cpu_count(),
            _temp_dir=root,
            log_to_driver=False,
            logging_level="ERROR",
        )
        try:
            yield tune
        finally:
            ray.shutdown()


def _short_root() -> str:
    root = tempfile.gettempdir()
    if len(root) > SOCKET_PATH_LIMIT:
        raise ConfigError(
            f"TMPDIR={root}: too long for Ray's sockets ({len(root)} > {SOCKET_PATH_LIMIT} "
            "characters); set TMPDIR=/tmp"
        )
    return root


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


def _write_study(study: Study) -> None:
    write_json(study.out / "study.json", {"name": study.settings.name, "cells": _results(study)})


def _results(study: Study) -> list[dict[str, Any]]:
    """One row a cell: factors, status (done, failed, unfinished), error, last metrics."""
    last = {line["key"]: line for line in read_lines(study.out / "ledger.jsonl")}
    return [_result(cell, last.get(cell.key)) for cell in study.cells]


def _result(cell: Cell, line: dict[str, Any] | None) -> dict[str, Any]:
    records = read_lines(cell.out / "rounds.jsonl")
    status = "done" if cell.done else (line or {}).get("status", "unfinished")
    final = [row for row in records[-1]["metrics"] if row["class"] == "mean"] if records else []
    return {
        "key": cell.key,
        "folder": f"cells/{cell.name}",
        "factors": cell.factors,
        "status": status,
        "error": None if cell.done else (line or {}).get("error"),
        "rounds": len(records),
        "final": final,
    }


def plan(study: Study) -> dict[str, Any]:
    """What a sweep would do: the same document, nothing run."""
    rows = _results(study)
    todo = [cell for cell in study.cells if not cell.done]
    return {
        "study": str(study.out),
        "cells": len(study.cells),
        "ran": 0,
        "skipped": len(study.cells) - len(todo),
        "failed": 0,
        "results": rows,
        "would_run": [cell.name for cell in todo],
    }


def study_status(folder: Path) -> dict[str, Any]:
    """The state of a study folder, fresh from the logs of its cells.

    Raises:
        ConfigError: the folder holds no study.json.
    """
    path = folder / "study.json"
    if not path.exists():
        raise ConfigError(f"{path}: no study here; start one with `salearn sweep STUDY`")
    study: dict[str, Any] = read_json(path)
    for row in study["cells"]:
        row["rounds"] = len(read_lines(folder / row["folder"] / "rounds.jsonl"))
    return study
