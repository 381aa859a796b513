import json
import shutil

import pytest

from salearn.errors import ConfigError
from salearn.report.case_lines import read_cases, with_cases
from salearn.report.runs import read_runs
from salearn.report.tables import case_table


def status(found):
    return {cell["folder"].rsplit("/", 1)[-1]: cell["status"] for cell in found.cells}


def test_every_run_below_a_study_is_found_and_the_store_is_not_entered(study, make_run):
    make_run(study / "store" / "hidden", train_seed=7)
    make_run(study / ".work" / "hidden", train_seed=8)
    found = read_runs([study])
    assert len(found.runs) == 8
    assert set(status(found).values()) == {"done"}


def test_a_run_named_twice_is_read_once(study):
    cell = study / "cells" / "random_supervised_0"
    assert len(read_runs([study, cell, study / "cells"]).runs) == 8
    assert len(read_runs([cell]).runs) == 1


def test_a_run_with_fewer_rounds_than_planned_is_unfinished(tmp_path, make_run):
    make_run(tmp_path / "cut", done=2)
    cell = read_runs([tmp_path]).cells[0]
    assert (cell["status"], cell["rounds"], cell["planned"]) == ("unfinished", 2, 3)
    assert cell["cpu_seconds"] == 2.5


def test_failed_and_missing_cells_of_a_study_are_listed_with_their_cause(tmp_path, make_run):
    make_run(tmp_path / "cells" / "good")
    make_run(tmp_path / "cells" / "broke", train_seed=1, done=1)
    factors = {"strategy": {"name": "hybrid", "alpha": 1}, "learner.name": "supervised"}
    planned = [
        {"key": "random-supervised-0-0", "folder": "cells/good", "status": "done", "error": None},
        {"key": "random-supervised-0-1", "folder": "cells/broke", "status": "failed", "error": "x"},
        {"key": "k3", "folder": "cells/dead", "status": "failed", "error": "no memory"},
        {"key": "k4", "folder": "cells/never", "status": "unfinished", "factors": factors},
    ]
    (tmp_path / "study.json").write_text(json.dumps({"cells": planned}))
    found = read_runs([tmp_path])
    assert status(found) == {
        "good": "done",
        "broke": "failed",
        "dead": "failed",
        "never": "missing",
    }
    dead, never = found.cells[-2:]
    assert dead["error"] == "no memory"
    assert (never["strategy"], never["learner"]) == ("hybrid", "supervised")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("run.json", "{", "run.json"),
        ("run.json", '{"key": "a", "budget": [1]}', "lacks factors, classes"),
        ("rounds.jsonl", "nonsense\n", "rounds.jsonl"),
        ("cases.jsonl", '{"round": 0, "dice": "high"}\n', "cases.jsonl: a line is broken"),
        ("cases.jsonl", None, "cases.jsonl: missing"),
    ],
)
def test_a_broken_run_is_listed_and_does_not_stop_the_others(
    tmp_path, make_run, name, text, message
):
    make_run(tmp_path / "good")
    broken = make_run(tmp_path / "broken", train_seed=1)
    if text is None:
        (broken / name).unlink()
    else:
        (broken / name).write_text(text)
    found = read_runs([tmp_path])
    assert len(found.runs) == 1
    assert status(found)["broken"] == "unreadable"
    assert message in found.cells[-1]["error"]


def test_a_copy_of_a_run_is_not_a_second_seed(tmp_path, make_run):
    shutil.copytree(make_run(tmp_path / "a"), tmp_path / "b")
    found = read_runs([tmp_path])
    assert len(found.runs) == 1
    assert status(found) == {"a": "done", "b": "duplicate"}


def test_runs_that_differ_in_another_setting_are_variants_not_seeds(tmp_path, make_run):
    for seed, steps in enumerate((240, 240, 600, 600)):
        config = f"student:\n  iterations: {steps}\nthreads: {seed}\n"
        make_run(tmp_path / str(seed), train_seed=seed, config=config)
    found = read_runs([tmp_path])
    assert [run.variant for run in found.runs] == [
        *["student.iterations=240"] * 2,
        *["student.iterations=600"] * 2,
    ]


def test_a_pretext_with_its_settings_is_one_word_of_a_variant(tmp_path, make_run):
    for seed, pretext in enumerate(("null", "null", "{name: mae, form: B, mask: 0.5}")):
        config = f"arm: {{name: lora, rank: 8}}\npretext: {pretext}\n"
        make_run(tmp_path / str(seed), train_seed=seed, config=config)
    found = read_runs([tmp_path])
    assert [run.variant for run in found.runs] == [
        *["pretext=None"] * 2,
        "pretext=mae(form=B, mask=0.5)",
    ]


def test_a_run_that_nothing_tells_apart_from_another_is_set_aside(tmp_path, make_run):
    make_run(tmp_path / "a")
    make_run(tmp_path / "b", key="another key")
    found = read_runs([tmp_path])
    assert status(found) == {"a": "done", "b": "duplicate"}
    assert "no setting tells them apart" in found.cells[-1]["error"]


def test_rows_of_a_round_that_did_not_finish_are_left_out(tmp_path, make_run):
    path = make_run(tmp_path / "run", done=2) / "cases.jsonl"
    whole = path.read_text()
    row = json.loads(whole.splitlines()[-1]) | {"round": 2}
    path.write_text(whole + json.dumps(row) + "\n" + '{"round": 2, "dice"')
    frame = case_table(read_runs([tmp_path]).runs)
    assert set(frame["round"]) == {0, 1}
    assert len(frame) == len(whole.splitlines())


def test_rows_that_stand_twice_count_once_and_the_later_one_counts(tmp_path, make_run):
    path = make_run(tmp_path / "run") / "cases.jsonl"
    whole = path.read_text()
    row = json.loads(whole.splitlines()[0]) | {"dice": 0.123}
    path.write_text(whole + json.dumps(row) + "\n")
    frame = case_table(read_runs([tmp_path]).runs)
    assert len(frame) == len(whole.splitlines())
    assert (frame["dice"] == 0.123).sum() == 1


def test_folders_without_runs_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"no run\.json"):
        read_runs([tmp_path])
    with pytest.raises(ConfigError, match="no such folder"):
        read_runs([tmp_path / "nowhere"])


def test_case_files_that_are_read_together_hold_what_each_holds_alone(study):
    folders = sorted(path.parent for path in study.rglob("cases.jsonl"))
    torn = folders[0] / "cases.jsonl"
    torn.write_text(torn.read_text() + '{"round": 0, "spl')  # read alone
    found = dict(with_cases(iter(folders)))
    assert [found[folder] is None for folder in folders] == [True] + [False] * (len(folders) - 1)
    labeled = {0: 1, 1: 2, 2: 4}
    for folder in folders:
        alone = read_cases(folder / "cases.jsonl", labeled)
        assert read_cases(folder / "cases.jsonl", labeled, found[folder]).equals(alone)


def test_one_broken_case_file_does_not_take_the_others_along(study):
    folders = sorted(path.parent for path in study.rglob("cases.jsonl"))
    broken = folders[3] / "cases.jsonl"
    broken.write_text(broken.read_text() + "{broken}\n")
    found = read_runs([study])
    assert len(found.runs) == len(folders) - 1
    assert status(found)[folders[3].name] == "unreadable"
