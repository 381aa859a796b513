"""Budgets of a cell side by side: the same run, in whatever order its rounds are trained."""

from pathlib import Path
from typing import Any

import pytest
import quick_study
import tiny
import yaml

from loops.progress import Progress
from loops.studies import parts
from loops.studies.attempt import from_order, order, run_job
from loops.studies.backends import slurm
from loops.studies.ledger import Ledger
from loops.studies.parts import jobs_of, nested
from loops.studies.study import Study, load_study, run_config
from loops.sweep import sweep
from salearn.store import read_lines

QUIET = Progress(enabled=False)
LOGS = ("rounds.jsonl", "queries.jsonl", "cases.jsonl", "trainings.jsonl")


def make(folder: Path, **changes: Any) -> Study:
    """One cell of two rounds, in parts."""
    folder.mkdir()
    values = {k: v for k, v in tiny.values(folder).items() if k not in ("out", "store")}
    section = {"out": str(folder / "study"), "backend": "serial", "parallel_budgets": True}
    path = folder / "study.yaml"
    own = {"learner": "mean_teacher", "sinks": []}
    path.write_text(yaml.safe_dump(values | own | changes | {"study": section}))
    return load_study(path)


@pytest.mark.slow
def test_rounds_side_by_side_end_in_the_run_in_sequence_byte_for_byte(tmp_path: Path) -> None:
    calm, study = make(tmp_path / "calm"), make(tmp_path / "parts")
    sweep(calm, QUIET)
    (cell,), told = study.cells, []
    ledger = Ledger(study.out)
    first, last = jobs_of(study, study.cells, told.append)
    assert (first.round, last.round, told) == (0, 1, [])
    # the later round first, as on another machine
    assert run_job(from_order(order(last, ledger))[0], ledger, QUIET) == "done"
    assert not cell.done
    assert [job.round for job in jobs_of(study, study.cells, told.append)] == [0]
    assert run_job(first, ledger, QUIET) == "done"  # ends last: gathers
    for name in LOGS:
        assert (cell.out / name).read_bytes() == (calm.cells[0].out / name).read_bytes(), name
    assert not (cell.out / parts.FOLDER).exists()
    assert len(read_lines(cell.out / "timings.jsonl")) == len(
        read_lines(calm.cells[0].out / "timings.jsonl")
    )
    assert sweep(study, QUIET)["ran"] == 0


def test_units_of_nested_rounds_are_those_of_the_run(tmp_path: Path) -> None:
    study = quick_study.make(tmp_path, ("strategy=random",), parallel_budgets=True)
    one, two = nested(run_config(study.cells[0])), nested(run_config(study.cells[1]))
    assert [len(units) for units in one] == [1, 1]  # totals 1, 2
    assert one != two  # another draw seed
    assert not {*one[0]} & {*one[1]}


@pytest.mark.parametrize("strategy", ["entropy", "coreset"])
def test_rounds_that_depend_stay_in_sequence_and_it_is_said_once(
    tmp_path: Path, strategy: str
) -> None:
    factors = {"strategy": [strategy], "draw_seed": [0, 1]}
    study = quick_study.make(tmp_path, factors=factors, parallel_budgets=True)
    told: list[str] = []
    jobs = jobs_of(study, study.cells, told.append)
    assert [job.round for job in jobs] == [None, None]
    (line,) = told
    assert f"strategy {strategy}: it looks at evidence." in line
    assert "in sequence" in line


def test_a_part_at_work_is_a_cell_at_work(tmp_path: Path) -> None:
    study = quick_study.make(tmp_path, seeds=[0], parallel_budgets=True)
    (cell,) = study.cells
    job = jobs_of(study, study.cells, print)[1]
    claim = parts.take_part(job, 60.0, {})
    assert parts.take_part(job, 60.0, {}) is None
    other = Ledger(study.out)
    assert not other.free(cell)
    assert other.standing(cell.key, cell.out, 2)["status"] == "running"
    claim.end("done")
    assert other.free(cell)
    assert [job.round for job in jobs_of(study, study.cells, print)] == [0]
    assert not parts.all_ended(cell, 60.0)


def test_a_part_that_fails_leaves_the_cell_to_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("broken mask")

    monkeypatch.setattr("loops.studies.attempt.train_round", broken)
    monkeypatch.setattr("loops.cell.run_cell", broken)
    study = quick_study.make(tmp_path, seeds=[0], parallel_budgets=True)
    ledger = Ledger(study.out)
    outcomes = [run_job(job, ledger, QUIET) for job in jobs_of(study, study.cells, print)]
    assert outcomes == ["failed", "failed"]
    cell = study.cells[0]
    assert ledger.standing(cell.key, cell.out, 2)["error"] == "ValueError: broken mask"


def test_slurm_tasks_are_rounds_of_cells(tmp_path: Path) -> None:
    study = quick_study.make(tmp_path, seeds=[0], backend="slurm", parallel_budgets=True)
    assert slurm.write(study, study.cells, Ledger(study.out))["tasks"] == 2
    keys = next((study.out / "slurm").glob("keys_*.txt")).read_text().split()
    assert keys == [f"{study.cells[0].key}:0", f"{study.cells[0].key}:1"]


def test_a_task_runs_its_round_and_the_last_one_the_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    trained: list[int | None] = []
    monkeypatch.setattr("loops.cell.run_cell", quick_study.runner(calls))
    monkeypatch.setattr(
        "loops.studies.attempt.train_round", lambda job, _: trained.append(job.round)
    )
    study = quick_study.make(tmp_path, seeds=[0], parallel_budgets=True)
    key = study.cells[0].key
    assert sweep(study, QUIET, only=[f"{key}:1"])["ran"] == 0
    assert (trained, calls) == ([1], [])
    assert sweep(study, QUIET, only=[f"{key}:0"])["ran"] == 1
    assert (trained, calls) == ([1, 0], [0])
