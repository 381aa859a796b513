"""Around the cells: what is run, by whom, what is told; the cells themselves cost nothing."""

import json
import threading
import time
from pathlib import Path

import pytest
import quick_study

from loops import sweep as module
from loops.progress import Progress
from loops.studies.attempt import run_one
from loops.studies.ledger import Ledger
from loops.studies.study import Study, load_study
from loops.studies.watch import clock, headline, table
from loops.sweep import plan, study_status, sweep
from salearn.claims import Claim
from salearn.errors import ConfigError
from salearn.store import read_lines

QUIET = Progress(enabled=False)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Draw seeds of the cells that were run."""
    found: list[int] = []
    monkeypatch.setattr("loops.cell.run_cell", quick_study.runner(found))
    monkeypatch.setattr(module, "POLL_SECONDS", 0.02)
    return found


def test_priorities_come_first_in_their_order(tmp_path: Path, calls: list[int]) -> None:
    first = [{"draw_seed": 2}, {"draw_seed": 1}]
    study = quick_study.make(tmp_path, seeds=[0, 1, 2, 3], priorities=first)
    sweep(study, QUIET)
    assert calls == [2, 1, 0, 3]
    with pytest.raises(ConfigError, match=r"priorities.*no factors"):
        quick_study.make(tmp_path, priorities=[{"x": 1}])


def test_an_extended_study_runs_only_its_new_cells(tmp_path: Path, calls: list[int]) -> None:
    assert sweep(quick_study.make(tmp_path), QUIET)["ran"] == 3
    more = quick_study.make(tmp_path, seeds=[0, 1, 2, 3, 4])
    result = sweep(more, QUIET)
    assert (result["ran"], result["skipped"], result["failed"]) == (2, 3, 0)
    assert calls == [0, 1, 2, 3, 4]
    assert sweep(more, QUIET)["ran"] == 0
    assert len(calls) == 5


def test_expected_hours_come_from_finished_cells_of_the_kind(
    tmp_path: Path, calls: list[int]
) -> None:
    few = plan(quick_study.make(tmp_path, seeds=[0, 1]))["expected"]
    assert (few["core_hours"], few["unknown"]) == (None, 2)
    sweep(quick_study.make(tmp_path, seeds=[0, 1]), QUIET)
    # 36 CPU-seconds a cell = 0.01 h; four more cells; a quarter of a card for one core
    more = quick_study.make(tmp_path, seeds=[0, 1, 2, 3, 4, 5], gpu=0.25)
    found = plan(more)["expected"]
    assert found["core_hours"] == pytest.approx(0.04)
    assert found["gpu_hours"] == pytest.approx(0.01)
    assert (found["known"], found["unknown"]) == (4, 0)
    other = quick_study.make(tmp_path, ("student.iterations=7",), seeds=[7])
    assert plan(other)["expected"]["core_hours"] is None  # other settings: unknown
    alone = quick_study.make(tmp_path, seeds=[9])
    # the study file names none of the finished cells any more, but its folder holds them
    assert plan(alone)["expected"]["core_hours"] == pytest.approx(0.01)


def test_two_sweeps_at_once_share_the_cells_and_run_none_twice(
    tmp_path: Path, calls: list[int]
) -> None:
    study = quick_study.make(tmp_path, seeds=list(range(12)))
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(sweep(study, QUIET))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(calls) == list(range(12))
    assert sum(result["ran"] for result in results) == 12
    assert all(r["ran"] + r["elsewhere"] + r["skipped"] == 12 for r in results)


class Ends(Progress):
    """Ends a claim once a sweep says that it waits for it."""

    def __init__(self, claim: Claim, state: str, **told: str) -> None:
        super().__init__(enabled=False)
        self._claim, self._state, self._told = claim, state, told

    def say(self, text: str) -> None:
        if text.startswith("waiting"):
            self._claim.end(self._state, **self._told)


def held(study: Study) -> Claim:
    claim = Ledger(study.out).take(study.cells[0])
    assert claim is not None
    return claim


def test_a_sweep_waits_for_a_cell_that_another_one_holds(tmp_path: Path, calls: list[int]) -> None:
    study = quick_study.make(tmp_path, seeds=[0])
    claim = held(study)
    cell = study.cells[0]
    standing = Ledger(study.out).standing(cell.key, cell.out, cell.num_rounds)
    assert standing["status"] == "running"
    assert sweep(study, Ends(claim, "stopped"))["ran"] == 1
    assert calls == [0]


def test_what_failed_in_another_sweep_meanwhile_is_not_run_again(
    tmp_path: Path, calls: list[int]
) -> None:
    study = quick_study.make(tmp_path, seeds=[0])
    result = sweep(study, Ends(held(study), "failed", error="why"))
    assert (result["ran"], result["failed"], calls) == (0, 1, [])
    assert result["results"][0]["error"] == "why"
    assert sweep(study, QUIET)["ran"] == 1  # asked for again


def test_one_cell_by_its_key(tmp_path: Path, calls: list[int]) -> None:
    study = quick_study.make(tmp_path)
    assert sweep(study, QUIET, only=[study.cells[1].key])["ran"] == 1
    assert calls == [1]
    with pytest.raises(ConfigError, match="no such cell"):
        sweep(study, QUIET, only=["0123"])


def test_a_garbled_last_line_of_a_log_costs_one_round(tmp_path: Path, calls: list[int]) -> None:
    study = quick_study.make(tmp_path, seeds=[0])
    sweep(study, QUIET)
    log = study.cells[0].out / "rounds.jsonl"
    before = log.read_bytes()
    log.write_bytes(before[:-20] + b"\0" * 19 + b"\n")
    assert study_status(study.out)["cells"][0]["rounds"] == 1
    assert sweep(study, QUIET)["ran"] == 1
    assert log.read_bytes() == before


def test_who_lost_its_claim_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = quick_study.make(tmp_path, seeds=[0])
    ledger = Ledger(study.out)
    cell = study.cells[0]

    def slow(config: object, progress: Progress) -> None:
        path = study.out / "ledger" / cell.key / "0002.json"
        path.write_text(json.dumps({"machine": "other"}))  # another machine took over
        with progress.stage("training") as report:
            report(1, 2, {})
        pytest.fail("it went on")

    monkeypatch.setattr("loops.cell.run_cell", slow)
    monkeypatch.setattr("loops.studies.attempt.LOOK_SECONDS", 0.0)
    assert run_one(cell, ledger, QUIET) == "lost"
    assert ledger.claims.attempt(cell.key, 1)["state"] == "lost"


def test_status_tells_time_left_and_the_table_shows_causes(
    tmp_path: Path, calls: list[int]
) -> None:
    study = quick_study.make(tmp_path, seeds=[0, 1, 2])
    sweep(study, QUIET, only=[study.cells[0].key])
    record = study.out / "ledger" / study.cells[0].key / "0001.json"
    record.write_text(json.dumps(json.loads(record.read_text()) | {"seconds": 100.0}))
    claim = Ledger(study.out).take(study.cells[1])
    assert claim is not None
    status = study_status(study.out)
    assert status["counts"] == {"done": 1, "running": 1, "unfinished": 1}
    # two cells of 100 s, one of them just begun, one at a time
    assert status["seconds_left"] == pytest.approx(200, abs=1)
    assert headline(status).endswith("about 0:03:19 left") or "0:03:20" in headline(status)
    claim.end("failed", error="DataError: [x] no mask")
    status = study_status(study.out)
    assert status["seconds_left"] is None  # nothing runs
    from rich.console import Console

    console = Console(width=160, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table(status))
    console.file.close()
    text = console.export_text()
    assert "DataError: [x] no mask" in text
    assert "draw_seed=1" in text


def test_a_clock_is_hours_minutes_seconds() -> None:
    assert clock(3723.9) == "1:02:03"
    assert clock(None) == ""


@pytest.mark.parametrize(("name", "reason"), [("pbt", "own budget"), ("asha", "small budgets")])
def test_schedulers_across_budgets_are_refused_with_the_reason(
    name: str, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=reason):
        quick_study.make(tmp_path, scheduler=name)
    assert load_study(tmp_path / "study.yaml", ["study.scheduler=fifo"]).cells


def test_a_worker_that_dies_for_good_is_written_down_once(
    tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = quick_study.make(tmp_path, seeds=[0])
    asked = []

    def dies(study: object, cells: list, ledger: Ledger) -> dict[str, str]:
        asked.append(len(cells))
        return {cells[0].key: "its worker died 3 times"}

    monkeypatch.setitem(module.EXECUTE, "serial", dies)
    start = time.monotonic()
    result = sweep(study, QUIET)
    assert time.monotonic() - start < 5
    assert (asked, result["failed"]) == ([1], 1)
    assert result["results"][0]["error"] == "its worker died 3 times"
    assert len(read_lines(study.cells[0].out / "rounds.jsonl")) == 0
