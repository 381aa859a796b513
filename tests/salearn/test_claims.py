"""Claims: one owner at a time, dead owners recovered, whatever the clocks say."""

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from salearn import claims
from salearn.claims import Claims


def test_only_one_takes_a_key_and_the_next_attempt_begins_when_it_ended(tmp_path: Path) -> None:
    a, b = Claims(tmp_path), Claims(tmp_path)
    claim = a.take("k", {"name": "first"})
    assert claim is not None
    assert claim.number == 1
    assert b.take("k") is None
    claim.end("failed", error="why")
    last = b.last("k")
    assert last is not None
    assert (last["state"], last["error"], last["name"]) == ("failed", "why", "first")
    again = b.take("k")
    assert again is not None
    assert again.number == 2
    again.end("done")
    assert a.newest("k") == 2
    assert [path.name for path in sorted((tmp_path / "k").iterdir())] == ["0001.json", "0002.json"]


def _hold(root: Path) -> None:
    Claims(root).take("k")
    time.sleep(60)


def test_an_owner_killed_on_this_machine_blocks_nobody(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_hold, args=(tmp_path,))
    process.start()
    waiting = Claims(tmp_path)
    while not waiting.newest("k"):
        time.sleep(0.01)
    assert waiting.take("k") is None
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    claim = waiting.take("k")
    assert claim is not None
    assert claim.number == 2
    claim.end("done")


def test_of_many_that_ask_at_once_one_gets_it(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(8) as pool:
        got = [c for c in pool.map(lambda _: Claims(tmp_path).take("k"), range(8)) if c]
    assert len(got) == 1
    got[0].end("done")


def _elsewhere(path: Path, beat: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": "other", "flock": True, "beat": beat}))


def test_an_owner_elsewhere_is_dead_after_the_declared_time_without_a_beat(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    monkeypatch.setattr(claims.time, "monotonic", lambda: now)
    monkeypatch.setattr(claims.time, "time", lambda: pytest.fail("no wall clock is read"))
    path = tmp_path / "k" / "0001.json"
    _elsewhere(path, beat=1)
    watcher = Claims(tmp_path, stale=60)
    assert not watcher.free("k")  # first seen at 0
    now = 59.0
    os.utime(path, (10**10, 10**10))  # its clock jumped far ahead: nobody cares
    assert not watcher.free("k")
    _elsewhere(path, beat=2)  # it lives
    now = 118.0
    assert not watcher.free("k")  # the new beat was first seen now
    now = 177.0
    assert not watcher.free("k")
    now = 178.0  # 178 - 118 = 60
    assert watcher.free("k")


def test_who_was_taken_for_dead_learns_it(tmp_path: Path) -> None:
    claim = Claims(tmp_path).take("k")
    assert claim is not None
    assert not claim.lost
    _elsewhere(tmp_path / "k" / "0002.json", beat=0)
    assert claim.lost
    claim.end("lost")


def test_beats_are_written_while_it_is_held(tmp_path: Path) -> None:
    watcher = Claims(tmp_path, stale=0.06)
    claim = watcher.take("k")
    assert claim is not None
    deadline = time.monotonic() + 5
    while watcher.attempt("k", 1)["beat"] < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert watcher.attempt("k", 1)["beat"] >= 2
    claim.end("done")


def test_without_hard_links_files_are_still_made_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(claims.os, "link", refuse)
    claim = Claims(tmp_path).take("k")
    assert claim is not None
    assert Claims(tmp_path).take("k") is None
    claim.end("done")
    assert Claims(tmp_path).free("k")


def test_a_garbled_claim_is_watched_like_one_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()
    (tmp_path / "k" / "0001.json").write_bytes(b"\0\0")
    watcher = Claims(tmp_path, stale=0.01)
    assert not watcher.free("k")
    time.sleep(0.02)
    assert watcher.free("k")
    last = watcher.last("k")
    assert last is not None
    assert last["state"] == "running"


def test_a_claim_made_between_look_and_link_is_not_stepped_over(tmp_path: Path) -> None:
    quick = []

    class Slow(Claims):
        def _ended(self, key: str, number: int) -> bool:
            answer = super()._ended(key, number)
            quick.append(Claims(tmp_path).take(key))
            return answer

    assert Slow(tmp_path).take("key") is None
    assert Claims(tmp_path).newest("key") == 1
    assert quick[0] is not None
    quick[0].end("done")
