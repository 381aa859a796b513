"""A query log goes out and comes back the same; a broken one is refused with its line."""

import json
from pathlib import Path

import pytest

from salearn.errors import DataError
from salearn.querylog import FORMAT, QueryLog, export_run, read_query_log, write_query_log
from salearn.store import write_json, write_lines


def run_folder(out: Path) -> Path:
    factors = {"dataset": "d", "strategy": "dkd", "learner": "supervised", "draw_seed": 1,
               "train_seed": 2}  # fmt: skip
    record = {"key": "k" * 16, "factors": factors, "unit": "volume", "classes": ["a"],
              "budget": [2, 3]}  # fmt: skip
    write_json(out / "run.json", record)
    parts = {"pool": {"sha256": "p"}, "test": {"sha256": "t"}}
    write_json(out / "split.json", {"hash": "s", "parts": parts})
    first = {"c1": 0.5, "c2": 0.25, "c3": float("nan")}
    write_lines(out / "rounds.jsonl", [
        {"round": 0, "num_labeled": 2, "selected": ["c1", "c2"], "scores": first},
        {"round": 1, "num_labeled": 3, "selected": ["c3"], "scores": {"c3": 1.0}},
    ])  # fmt: skip
    line = {"slices": 3, "voxels": 9, "seconds": 90.0, "round": 0}
    write_lines(out / "queries.jsonl", [
        {"purpose": "annotate", "unit": "c1", **line}, {"purpose": "test", "unit": "c9", **line},
    ])  # fmt: skip
    return out


@pytest.mark.parametrize("scores", [False, True])
def test_a_log_comes_back_as_it_went_out(tmp_path: Path, scores: bool) -> None:
    log = export_run(run_folder(tmp_path / "run"), scores)
    assert log.units == ("c1", "c2", "c3")
    assert log.head["hashes"]["pool"] == "p"
    assert log.queries[0] == {
        "round": 0, "order": 0, "unit": "c1", "score": 0.5, "slices": 3, "voxels": 9,
        "seconds": 90.0,
    }  # fmt: skip
    assert log.queries[1]["seconds"] is None  # the oracle's log does not know it
    write_query_log(log, tmp_path / "log.jsonl")
    again = read_query_log(tmp_path / "log.jsonl")
    assert (again.head, again.queries) == (log.head, log.queries)
    assert bool(again.scores) == scores
    write_query_log(again, tmp_path / "twice.jsonl")
    assert (tmp_path / "twice.jsonl").read_bytes() == (tmp_path / "log.jsonl").read_bytes()


def test_a_run_folder_is_read_like_a_log(tmp_path: Path) -> None:
    assert read_query_log(run_folder(tmp_path)).units == ("c1", "c2", "c3")


def test_keys_that_a_reader_does_not_know_are_no_trouble(tmp_path: Path) -> None:
    log = export_run(run_folder(tmp_path / "run"))
    write_query_log(log, tmp_path / "log.jsonl")
    lines = [json.loads(text) for text in (tmp_path / "log.jsonl").read_text().splitlines()]
    write_lines(tmp_path / "more.jsonl", [line | {"reader": "X"} for line in lines])
    assert read_query_log(tmp_path / "more.jsonl") == log


def broken(log: QueryLog) -> list[tuple[list[dict], str]]:
    head, queries = {"format": FORMAT, "version": 1, **log.head}, [dict(q) for q in log.queries]
    return [
        ([], "line 1: expected salearn-query-log version 1"),
        ([head | {"version": 2}], "version 2"),
        ([{k: v for k, v in head.items() if k != "unit"}], "line 1: lacks unit"),
        ([head, queries[0], queries[0]], "line 3: unit c1 is asked for twice"),
        ([head, queries[2], queries[0]], "line 3: .*round 0 stands after round 1"),
        ([head, {"unit": "c1"}], "line 2: neither a query"),
    ]


def test_a_broken_log_is_refused_with_file_and_line(tmp_path: Path) -> None:
    log = export_run(run_folder(tmp_path / "run"))
    for lines, message in broken(log):
        write_lines(tmp_path / "bad.jsonl", lines)
        with pytest.raises(DataError, match=message):
            read_query_log(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("{oops\n")
    with pytest.raises(DataError, match="line 1: not JSON"):
        read_query_log(tmp_path / "bad.jsonl")


def test_what_is_no_log_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such query log"):
        read_query_log(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match=r"run\.json is missing"):
        export_run(tmp_path)
    folder = run_folder(tmp_path / "run")
    (folder / "rounds.jsonl").unlink()
    with pytest.raises(DataError, match="no round of this run is finished"):
        export_run(folder)
