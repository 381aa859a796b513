"""Processes are really killed: nothing finished is lost, nothing is run twice."""

import itertools
import multiprocessing
import os
import random
import resource
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


def greedy_cell(config: RunConfig, progress: Progress) -> dict[str, Any]:
    """As `slow_cell`; draw seed 1 takes what the file `greedy` in the study's folder says."""
    wish = Path(config.out).parents[2] / "greedy"
    if config.draw_seed == 1 and wish.exists():
        what, size = wish.read_text().split()
        if what == "memory":
            held = b"x" * int(size)
            time.sleep(60 if len(held) else 0)  # until somebody kills it
        append_line(Path(config.out) / "rounds.jsonl", {"round": 0, "note": "x" * int(size)})
    return slow_cell(config, progress)


def greedy(folder: Path, monkeypatch: pytest.MonkeyPatch, what: str, size: int) -> Study:
    monkeypatch.setattr("loops.cell.run_cell", greedy_cell)
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    (folder / "greedy").write_text(f"{what} {size}")
    return quick_study.make(folder)


def finishes(folder: Path, study: Study) -> None:
    """Room is made: one cell is left to run, and the study ends as if nothing had been."""
    (folder / "greedy").unlink()
    result = sweep(study, QUIET)
    assert (result["ran"], result["skipped"], result["failed"]) == (1, 2, 0)
    assert sweep(study, QUIET)["ran"] == 0
    assert [len(read_finished(cell.out)) for cell in study.cells] == [1, 1, 1]
    assert all([row["round"] for row in read_lines(c.out / "rounds.jsonl")] == [0, 1]
               for c in study.cells)  # fmt: skip


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_cell_that_the_kernel_kills_for_its_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = greedy(tmp_path, monkeypatch, "memory", 400 * 2**20)
    process = start(study)
    pid = process.pid or 0
    cap = resident(pid) + 200 * 2**20
    while resident(pid) < cap:  # this test is the kernel
        assert process.is_alive()
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    process.join()
    states = [row["status"] for row in module.study_status(study.out)["cells"]]
    assert states == ["done", "interrupted", "unfinished"]
    (tmp_path / "greedy").unlink()
    assert sweep(study, QUIET)["ran"] == 2
    assert [len(read_finished(cell.out)) for cell in study.cells] == [1, 1, 1]


def _limited(study: Study, limit: int, room: int) -> None:
    resource.setrlimit(limit, (room, resource.RLIM_INFINITY))
    _sweep(study)


def run_limited(study: Study, limit: int, room: int) -> None:
    process = FORK.Process(target=_limited, args=(study, limit, room))
    process.start()
    process.join(60)
    assert process.exitcode == 0  # the sweep itself goes on to the other cells


def test_a_cell_that_gets_no_memory_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = greedy(tmp_path, monkeypatch, "memory", 2**33)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    run_limited(study, resource.RLIMIT_AS, taken + 2**29)
    failed = module.study_status(study.out)["cells"][1]
    assert (failed["status"], failed["error"]) == ("failed", "MemoryError: ")
    finishes(tmp_path, study)


def test_a_disk_that_is_full_costs_the_round_that_was_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = greedy(tmp_path, monkeypatch, "disk", 50_000)
    run_limited(study, resource.RLIMIT_FSIZE, 20_000)  # no file grows beyond: writes really fail
    failed = module.study_status(study.out)["cells"][1]
    assert failed["status"] == "failed"
    assert "File too large" in failed["error"]
    torn = (study.cells[1].out / "rounds.jsonl").read_bytes()
    assert len(torn) == 20_000  # as far as there was room
    assert b"\n" not in torn
    finishes(tmp_path, study)


def test_a_clock_that_jumps_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loops.cell.run_cell", slow_cell)
    study = quick_study.make(tmp_path)
    jumps = itertools.cycle([0.0, 4e9, 1.0])  # 1970, 2096, 1970
    with monkeypatch.context() as patch:
        patch.setattr(time, "time", lambda: next(jumps))
        assert sweep(study, QUIET)["ran"] == 3
        for place, path in enumerate(sorted(tmp_path.rglob("*"))):
            os.utime(path, (0, 0) if place % 2 else (4e9, 4e9))
        assert sweep(study, QUIET)["ran"] == 0
        more = quick_study.make(tmp_path, seeds=[0, 1, 2, 3])
        assert sweep(more, QUIET)["ran"] == 1
    assert [len(read_finished(cell.out)) for cell in more.cells] == [1] * 4


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
