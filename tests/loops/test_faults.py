"""Processes are really killed: nothing finished is lost, nothing is run twice."""

import multiprocessing
import os
import random
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import quick_study
import tiny
import yaml

from loops import sweep as module
from loops.config import RunConfig
from loops.progress import Progress
from loops.studies.ledger import Ledger
from loops.studies.study import Study, load_study
from loops.sweep import sweep
from salearn.store import append_line, read_lines

QUIET = Progress(enabled=False)
FORK = multiprocessing.get_context("fork")


def slow_cell(config: RunConfig, progress: Progress) -> dict[str, Any]:
    """Two rounds that take a little while; says in `begun.jsonl` which round was worked at."""
    out = Path(config.out)
    for k in range(len(read_lines(out / "rounds.jsonl")), config.num_rounds):
        time.sleep(0.03)
        row = {"class": "mean", "dice": config.draw_seed / 10 + k}
        append_line(out / "rounds.jsonl", {"round": k, "metrics": [row]})
    append_line(out / "finished.jsonl", os.getpid())
    return {}


@pytest.fixture
def _slow_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("loops.cell.run_cell", slow_cell)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)


def _sweep(study: Study) -> None:
    sweep(study, QUIET)
    os._exit(0)


def start(study: Study) -> multiprocessing.process.BaseProcess:
    process = FORK.Process(target=_sweep, args=(study,))
    process.start()
    return process


def logs(study: Study) -> list[bytes]:
    return [(cell.out / "rounds.jsonl").read_bytes() for cell in study.cells]


@pytest.mark.slow
@pytest.mark.usefixtures("_slow_cells")
def test_a_driver_killed_twenty_times_ends_like_one_that_was_left_alone(tmp_path: Path) -> None:
    (tmp_path / "calm").mkdir()
    calm = quick_study.make(tmp_path / "calm", seeds=list(range(24)))
    sweep(calm, QUIET)
    study = quick_study.make(tmp_path, seeds=list(range(24)))
    chance = random.Random(0)
    kills = 0
    while kills < 20:
        process = start(study)
        process.join(0.03 + 0.08 * chance.random())
        kills += process.is_alive()
        if process.is_alive():
            os.kill(process.pid or 0, signal.SIGKILL)
        elif all(cell.done for cell in study.cells):
            break
        process.join()
    result = sweep(study, QUIET)
    assert kills >= 10
    assert logs(study) == logs(calm)
    assert result["failed"] == 0
    finished = Counter(cell.key for cell in study.cells for _ in read_finished(cell.out))
    assert set(finished.values()) == {1}  # a finished cell is never run again
    assert all(len(read_lines(cell.out / "rounds.jsonl")) == 2 for cell in study.cells)


def read_finished(out: Path) -> list[Any]:
    """Whole runs of a cell; one that was killed between its last round and this line has none."""
    return read_lines(out / "finished.jsonl") or [None]


@pytest.mark.usefixtures("_slow_cells")
def test_two_sweeps_at_once_of_which_one_is_killed(tmp_path: Path) -> None:
    study = quick_study.make(tmp_path, seeds=list(range(16)))
    first, second = start(study), start(study)
    while sum(cell.done for cell in study.cells) < 4:
        time.sleep(0.01)
    os.kill(first.pid or 0, signal.SIGKILL)
    first.join()
    second.join(60)
    assert second.exitcode == 0
    assert all(cell.done for cell in study.cells)
    runs = [len(read_finished(cell.out)) for cell in study.cells]
    assert runs == [1] * 16
    sweeps = {(Ledger(study.out).claims.last(cell.key) or {})["sweep"] for cell in study.cells}
    assert len(sweeps) == 2  # both had their share


@pytest.mark.slow
def test_a_ray_worker_that_is_killed_is_started_again_and_goes_on(tmp_path: Path) -> None:
    values = {k: v for k, v in tiny.values(tmp_path).items() if k not in ("out", "store")}
    section = {"out": str(tmp_path / "study"), "backend": "ray", "parallel": 1}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values | {"study": section}))
    study = load_study(path)
    (cell,) = study.cells
    watcher = Ledger(study.out)
    killed = []

    def kill() -> None:
        while not read_lines(cell.out / "trainings.jsonl"):  # the first student is trained
            time.sleep(0.05)
        killed.append((watcher.claims.last(cell.key) or {})["pid"])
        os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    result = sweep(study, QUIET)
    assert (result["ran"], result["failed"], len(killed)) == (1, 0, 1)
    assert watcher.claims.newest(cell.key) == 2
    trainings = [(t["stage"], t["round"]) for t in read_lines(cell.out / "trainings.jsonl")]
    assert trainings == [("students", 0), ("students", 1)]
