"""The benchmarks' own machinery, on arms of no cost; nothing here asserts a time."""

import importlib
import json
import sys
import time

import numpy as np
import pytest

from benchmarks import __main__ as door
from benchmarks import bench_embed, common
from benchmarks.bench_stitch import Loop

NAMES = [
    "atrium", "cli", "demo", "embed", "feed", "gpu", "hosts", "million", "pseudo", "select",
    "stats", "stitch", "student", "surface", "windows",
]  # fmt: skip


def one_row(**values):
    answers = {"ours": lambda: [1.0, 2.0], "tolerance": 0.5} | values
    other = common.Other(name="other", run=lambda: [1.0, 2.25], tolerance=answers["tolerance"])
    return common.compare("bench", "what", answers["ours"], [other], rounds=3)[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_benchmark_has_rows(name):
    assert callable(importlib.import_module(f"benchmarks.bench_{name}").rows)


def test_the_files_are_the_names():
    assert set(NAMES) <= set(door.names())


def test_arms_run_in_turn():
    order = []
    arms = [lambda: order.append("a"), lambda: order.append("b")]
    seconds = common.interleaved(arms, rounds=3)
    assert "".join(order) == "ababab"
    assert np.shape(seconds) == (3, 2)


def test_repeats_are_calls_and_the_time_is_of_one(monkeypatch):
    calls = []
    clock = iter([10.0, 16.0])
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    assert common.cpu_seconds(lambda: calls.append(1), repeats=3) == 2.0  # 6 s / 3 calls
    assert len(calls) == 3


def test_ratio_is_the_median_of_the_rounds(monkeypatch):
    # ours 1, 2, 4 s and the other 3, 4, 20 s: ratios 3, 2, 5 -> median 3 (not 4 / 2 = 2)
    monkeypatch.setattr(common, "interleaved", lambda *_: [[1, 3], [2, 4], [4, 20]])
    row = one_row()
    assert (row["cpu_s"], row["other_cpu_s"]) == (2, 4)
    assert row["ratio"] == 3
    assert row["ratio_range"] == (2, 5)
    assert row["rounds"] == 3


def test_difference_of_the_answers_is_told_and_bounded():
    assert one_row()["difference"] == 0.25
    with pytest.raises(ArithmeticError, match=r"bench: what: other: answers differ by 0\.25"):
        one_row(tolerance=0.1)
    with pytest.raises(ArithmeticError, match="nan"):
        one_row(ours=lambda: [float("nan"), 2.0])
    assert one_row(tolerance=None)["difference"] is None


def test_difference_of_nested_answers_and_of_shapes():
    ours = [np.zeros((2, 3)), (1, [2, 3])]
    assert common.difference(ours, [np.zeros((2, 3)), (1, [2, 3.5])]) == 0.5
    assert common.difference(np.zeros(3), np.zeros((1, 3))) == float("inf")
    assert common.difference([], []) == 0


@pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")
def test_peak_memory_is_what_the_call_held_at_its_highest():
    def hold():
        kept = np.ones(40 * 2**20, np.uint8)
        del kept
        return np.ones(8 * 2**20, np.uint8)

    assert common.peak_mib(hold) == pytest.approx(40, abs=8)


def test_table_has_a_line_for_each_row():
    lone = common.lone_row("demo", "run", 1, 1.2345, 10.0) | {"wall_s": 3.0}
    head, rule, *lines = common.table([one_row(), lone]).splitlines()
    assert len(lines) == 2
    assert len({len(line) for line in (head, rule, *lines)}) == 1
    assert "1.23" in lines[1]
    assert "3 s wall" in lines[1]


def test_rows_are_json_lines(capsys):
    common.emit([one_row()])
    assert json.loads(capsys.readouterr().out)["bench"] == "bench"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of benchmarks: one gives a row, one fails after its row."""
    package = tmp_path / "benchmarks"
    package.mkdir()
    row = json.dumps(common.lone_row("good", "x", 1, 1.0, None))
    (package / "__init__.py").touch()
    (package / "bench_good.py").write_text(f"print({row!r})\n")
    (package / "bench_bad.py").write_text(f"print({row!r}, flush=True)\nraise OSError('broken')\n")
    monkeypatch.setattr(door, "HERE", package)
    return tmp_path


def test_one_that_fails_does_not_stop_the_others(folder, capsys):
    out = folder / "out.json"
    assert door.main(["--json", "--out", str(out)]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [(b["name"], b["error"]) for b in result["benches"]] == [
        ("bad", "exit code 1: OSError: broken"),
        ("good", None),
    ]
    assert len(result["rows"]) == 2
    assert result["machine"]["cores"] >= 1
    assert json.loads(out.read_text()) == result


def test_a_name_runs_it_alone_and_writes_nothing(folder, capsys):
    before = sorted(folder.iterdir())
    assert door.main(["good"]) == 0
    assert capsys.readouterr().out.startswith("| bench")
    assert sorted(folder.iterdir()) == before


def test_an_unknown_name_is_wrong_usage(folder, capsys):
    with pytest.raises(SystemExit) as caught:
        door.main(["nothing"])
    assert caught.value.code == 2
    assert "there are bad, good" in capsys.readouterr().err


def test_plain_loop_places_slices_row_by_row():
    # Canvas 8, pitch 4: two tiles a side; a slice of 2 lies (4 - 2) // 2 = 1 inside its tile.
    loop = Loop(8, 4, (2, 2), held=4)
    slices = np.arange(1, 6, dtype=np.float32)[:, None, None, None] * np.ones((1, 2, 2), np.float32)
    mosaics = loop.stitch(slices)
    assert mosaics.shape == (2, 1, 8, 8)
    assert (mosaics[0, 0, 5:7, 1:3] == 3).all()  # third tile: row 1, column 0
    assert (mosaics[1, 0, 1:3, 1:3] == 5).all()
    assert np.count_nonzero(mosaics) == 5 * 4
    np.testing.assert_array_equal(loop.unstitch(mosaics, (5, 2, 2)), slices)


def test_slice_vectors_are_those_of_the_public_encoder(tmp_path):
    rows = bench_embed.comparison(32, 1, tmp_path)
    assert [row["against"].split(",")[0] for row in rows] == ["transformers Sam3Model"] * 2
    assert all(row["difference"] < 1e-5 for row in rows)
