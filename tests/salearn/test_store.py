"""Atomic writes, content keys, JSON lines and the shared store."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from salearn.store import (
    Store,
    append_line,
    atomic,
    content_key,
    file_hash,
    read_lines,
    write_json,
    write_lines,
)


def test_equal_settings_give_equal_keys_whatever_their_order() -> None:
    assert content_key({"a": 1, "b": [2]}) == content_key({"b": [2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 2})
    assert len(content_key("x")) == 16


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["value.json"]


def test_a_garbled_last_line_is_left_out_and_cut_by_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, {"a": 1})
    with path.open("ab") as handle:
        handle.write(b"\0\0\0\n")  # what a power cut may leave
    assert read_lines(path) == [{"a": 1}]
    append_line(path, {"b": 2})
    assert path.read_bytes() == b'{"a":1}\n{"b":2}\n'


def test_a_torn_last_line_is_left_out_and_cut_by_the_next_append(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append_line(path, {"n": 1})
    with path.open("a") as handle:
        handle.write('{"n": 2')
    assert read_lines(path) == [{"n": 1}]
    append_line(path, {"n": 3})
    assert read_lines(path) == [{"n": 1}, {"n": 3}]
    assert path.read_text() == '{"n":1}\n{"n":3}\n'


def test_lines_written_whole_can_be_read_back(tmp_path: Path) -> None:
    write_lines(tmp_path / "a" / "rows.jsonl", [{"x": 1.5}, {"x": None}])
    assert read_lines(tmp_path / "a" / "rows.jsonl") == [{"x": 1.5}, {"x": None}]


def test_what_is_no_number_becomes_null(tmp_path: Path) -> None:
    append_line(tmp_path / "log.jsonl", {"a": [float("nan"), 1.0], "b": float("inf")})
    assert read_lines(tmp_path / "log.jsonl") == [{"a": [None, 1.0], "b": None}]


def test_an_entry_is_made_once_and_its_private_files_are_dropped(tmp_path: Path) -> None:
    store, made = Store(tmp_path), []

    def make(work: Path) -> None:
        made.append(work)
        (work / "result.txt").write_text("done")
        (work / "_checkpoint.pt").write_text("state")

    for _ in range(3):
        folder = store.get("kind", "key", make)
    assert len(made) == 1
    assert [p.name for p in folder.iterdir()] == ["result.txt"]
    assert store.has("kind", "key")
    assert not store.has("kind", "other")


def test_a_maker_that_fails_leaves_no_entry_but_keeps_its_checkpoint(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(work: Path) -> None:
        (work / "_checkpoint.pt").write_text("half way")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.get("kind", "key", fail)
    assert not store.has("kind", "key")

    def resume(work: Path) -> None:
        assert (work / "_checkpoint.pt").read_text() == "half way"
        (work / "result.txt").write_text("done")

    assert (store.get("kind", "key", resume) / "result.txt").exists()


def _hold(root: Path, started: Path) -> None:
    def make(work: Path) -> None:
        started.touch()
        time.sleep(60)

    Store(root).get("kind", "key", make)


def test_a_killed_maker_blocks_nobody(tmp_path: Path) -> None:
    started = tmp_path / "started"
    maker = multiprocessing.get_context("fork").Process(
        target=_hold, args=(tmp_path / "store", started)
    )
    maker.start()
    while not started.exists():
        time.sleep(0.01)
    assert maker.pid is not None
    os.kill(maker.pid, signal.SIGKILL)
    maker.join()
    folder = Store(tmp_path / "store").get("kind", "key", lambda work: (work / "r").touch())
    assert (folder / "r").exists()


def _count(root: Path, counter: Path) -> None:
    def make(work: Path) -> None:
        append_line(counter, "made")
        time.sleep(0.2)

    Store(root).get("kind", "key", make)


def test_two_processes_that_want_one_entry_make_it_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    counter = tmp_path / "counter.jsonl"
    workers = [context.Process(target=_count, args=(tmp_path / "store", counter)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    assert read_lines(counter) == ["made"]


def test_the_hash_of_a_file_is_sha256(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"abc")
    assert file_hash(tmp_path / "f").startswith("ba7816bf8f01cfea")


def test_without_flock_claims_keep_makers_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    made = []

    def make(work: Path) -> None:
        made.append(work)
        time.sleep(0.05)
        (work / "value").write_text("x")

    (tmp_path / "marked").mkdir()
    (tmp_path / "marked" / "CLAIMS").touch()
    monkeypatch.setattr("salearn.claims.WAIT_SECONDS", 0.02)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: Store(tmp_path / "marked").get("kind", "k", make), range(4)))
    assert len(made) == 1

    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("salearn.store.fcntl.flock", refuse)
    assert (Store(tmp_path / "none").get("kind", "k", make) / "value").read_text() == "x"
    assert len(made) == 2
