"""A round that people annotate, played by script: asked, returned, refused, mended, gone on."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tiny

from loops import cli, inner
from loops.annotation.annotate import annotate
from loops.annotation.query import query
from loops.cell import run_cell
from loops.config import load_run, parse_run
from salearn.errors import ConfigError, DataError, WaitingError
from salearn.oracle import Oracle
from salearn.store import read_json, read_lines, write_json

pytestmark = pytest.mark.slow
Draw = Callable[[Path], None]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with one simulated round."""
    folder = tmp_path_factory.mktemp("begun")
    run_cell(parse_run(tiny.values(folder, budget=[1], strategy="random"), "test"))
    return folder


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    """A copy of its folder to go on in; the store is shared, as keys allow."""
    shutil.copytree(begun / "run", tmp_path / "run", symlinks=True)
    (tmp_path / "store").symlink_to(begun / "store")
    config = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(config.replace(str(begun), str(tmp_path)))
    return tmp_path / "run"


def go_on(run: Path) -> dict[str, Any]:
    return run_cell(load_run(run / "config.yaml"))


def shift(path: Path, by: int = 1) -> None:
    """Draw something else: the mask moved by a voxel, and one voxel of class 1 added."""
    image = nib.load(path)
    labels = np.roll(np.asarray(image.dataobj), by, axis=0)
    labels[3, 3, 3] = 1
    nib.save(nib.Nifti1Image(labels, image.affine, dtype=np.uint8), path)


def crop(path: Path) -> None:
    """A tool that returns another grid."""
    image = nib.load(path)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[1:], image.affine), path)


def masks(worklist: Path) -> dict[str, Path]:
    rows = read_json(worklist / "manifest.json")["sheets"]
    return {row["case"]: worklist / row["mask"] for row in rows}


def test_a_human_round_is_asked_checked_mended_and_trained_on(run: Path, tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    asked = query(run, worklist, 4)
    a, b, c, d = asked["units"]
    files = masks(worklist)
    before = {path: path.read_bytes() for path in worklist.rglob("*") if path.is_file()}

    # Asked again: the same list, in the same bytes, and nothing is spent.
    assert query(run, worklist, 4) == asked | {"new": False}
    assert before == {path: path.read_bytes() for path in worklist.rglob("*") if path.is_file()}
    assert [line["purpose"] for line in read_lines(run / "queries.jsonl")].count("annotate") == 1
    with pytest.raises(ConfigError, match=r"round 1 asked for 4 units already, not 3"):
        query(run, worklist, 3)

    shift(files[a])
    crop(files[b])
    files[d].unlink()  # and c is left as it was
    shift(worklist / "masks" / f"{a}.nii.gz")
    edited = files[a].read_bytes()
    query(run, worklist)
    assert files[a].read_bytes() == edited  # a list that is written again spoils no work
    files[d].unlink()

    first = annotate(worklist)
    assert (first["accepted"], first["open"], first["complete"]) == ([a], [b, c, d], False)
    found = {line["case"]: line for line in first["findings"]}
    assert "shape" in found[b]["problem"]
    assert "resample it onto the grid" in found[b]["remedy"]
    assert "nothing was changed" in found[c]["problem"]
    assert f"--confirm {c}" in found[c]["remedy"]
    assert found[d]["problem"] == "the file is missing"
    with pytest.raises(WaitingError, match=rf"waits for 3 of 4 masks \({b}, {c}, {d}\)"):
        go_on(run)

    # Again without a change: nothing is added, neither masks nor findings.
    logs = [(run / name).read_bytes() for name in ("queries.jsonl", "worklists.jsonl")]
    assert annotate(worklist)["accepted"] == []
    assert logs == [(run / name).read_bytes() for name in ("queries.jsonl", "worklists.jsonl")]

    for case in (b, d):
        shutil.copyfile(worklist / "start" / files[case].name, files[case])
        shift(files[case], by=2)
    second = annotate(worklist, confirm=[c])
    assert (second["accepted"], second["already"], second["open"]) == ([b, c, d], [a], [])
    assert second["findings"] == []

    result = go_on(run)
    assert (result["rounds"], result["ran"]) == (2, 1)
    record = read_lines(run / "rounds.jsonl")[1]
    assert record["selected"] == [a, b, c, d]
    assert record["num_labeled"] == 5
    lines = [line for line in read_lines(run / "queries.jsonl") if line["round"] == 1]
    people = [line for line in lines if line["purpose"] == "annotate"]
    assert [line["unit"] for line in people] == [a, b, c, d]
    assert {line["by"] for line in people} == {"person"}
    # What was trained on is what came back: class 1 where the script put it.
    stored = nib.load(run / people[0]["file"])
    assert np.asarray(stored.dataobj)[3, 3, 3] == 1
    assert go_on(run)["ran"] == 0
    after = annotate(worklist)
    assert (after["accepted"], after["complete"]) == ([], True)


def test_killed_anywhere_the_round_ends_like_an_uncut_one(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worklist = tmp_path / "worklist"
    units = query(run, worklist, 2)["units"]
    for path in masks(worklist).values():
        shift(path)
    whole = tmp_path / "whole"
    shutil.copytree(run, whole, symlinks=True)
    annotate(worklist, run=whole)
    run_cell(load_run(whole / "config.yaml", [f"out={whole}"]))

    accept = Oracle.accept

    def dies(self: Oracle, unit: Any, round: int, source: Any) -> None:
        if unit == units[1]:
            raise KeyboardInterrupt
        accept(self, unit, round, source)

    with monkeypatch.context() as patch:
        patch.setattr(Oracle, "accept", dies)
        with pytest.raises(KeyboardInterrupt):
            annotate(worklist)
    resumed = annotate(worklist)
    assert (resumed["already"], resumed["accepted"]) == ([units[0]], [units[1]])
    with monkeypatch.context() as patch:
        patch.setattr(inner, "measure", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            go_on(run)
    go_on(run)
    for name in ("rounds.jsonl", "queries.jsonl", "cases.jsonl"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name


def test_a_list_can_be_closed_early_or_withdrawn(run: Path, tmp_path: Path) -> None:
    worklist = tmp_path / "worklist"
    asked = query(run, worklist, 2)
    gone = annotate(worklist, close=True)
    assert (gone["accepted"], gone["open"]) == ([], [])
    again = query(run, worklist, 2)  # the round is asked anew
    assert (again["units"], again["new"]) == (asked["units"], True)
    kept, given_up = again["units"]
    shift(masks(worklist)[kept])
    closed = annotate(worklist, close=True)
    assert (closed["accepted"], closed["complete"]) == ([kept], True)
    go_on(run)
    assert read_lines(run / "rounds.jsonl")[1]["selected"] == [kept]
    assert given_up in query(run, tmp_path / "next", 4)["units"]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        ("value", "unknown label values 7"),
        ("affine", "the affine differs from that of the image by up to 2 mm"),
        ("empty", "the mask is empty"),
        ("broken", "cannot be read"),
    ],
)
def test_what_cannot_be_taken_is_refused_with_what_to_do(
    run: Path, tmp_path: Path, spoil: str, words: str
) -> None:
    (unit,) = query(run, tmp_path / "w", 1)["units"]
    path = masks(tmp_path / "w")[unit]
    image = nib.load(path)
    labels, affine = np.asarray(image.dataobj).copy(), image.affine.copy()
    labels[0, 0, 0] = 1
    if spoil == "value":
        labels[1, 1, 1] = 7
    elif spoil == "affine":
        affine[0, 3] += 2
    elif spoil == "empty":
        labels[:] = 0
        start = tmp_path / "w" / "start" / path.name
        if not np.asarray(nib.load(start).dataobj).any():
            words = "nothing was changed"
    nib.save(nib.Nifti1Image(labels, affine, dtype=np.uint8), path)
    if spoil == "broken":
        path.write_bytes(b"not a mask")
    result = annotate(tmp_path / "w")
    assert result["accepted"] == []
    assert words in result["findings"][0]["problem"]
    assert result["findings"][0]["remedy"]
    recorded = [line for line in read_lines(run / "worklists.jsonl") if line["event"] == "refused"]
    assert recorded[0]["problem"] == result["findings"][0]["problem"]


def test_the_table_may_confirm_and_tell_minutes_and_a_later_edit_is_noted(
    run: Path, tmp_path: Path
) -> None:
    worklist = tmp_path / "w"
    (unit,) = query(run, worklist, 1, copy=True)["units"]
    assert not (worklist / "images" / f"{unit}.nii.gz").is_symlink()
    head, row = (worklist / "worklist.csv").read_text().splitlines()
    filled = row.removesuffix(",,") + ",12.5,Yes"
    (worklist / "worklist.csv").write_text(f"{head}\n{filled}\n".replace(",", ";"))
    assert annotate(worklist)["accepted"] == [unit]
    line = read_lines(run / "queries.jsonl")[-1]
    assert line["reported_minutes"] == 12.5
    shift(masks(worklist)[unit])
    after = annotate(worklist)
    assert after["accepted"] == []
    assert "accepted one stands" in after["warnings"][0]["problem"]
    stored = run / line["file"]
    stored.write_bytes(masks(worklist)[unit].read_bytes())
    with pytest.raises(DataError, match="is not the mask that was accepted"):
        go_on(run)


def test_a_list_of_another_run_and_a_half_begun_round_are_refused(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query(run, tmp_path / "w", 1)
    manifest = read_json(tmp_path / "w" / "manifest.json")
    write_json(tmp_path / "w" / "manifest.json", manifest | {"key": "0"})
    with pytest.raises(ConfigError, match=r"not what .* asked for in round 1"):
        annotate(tmp_path / "w")
    with pytest.raises(DataError, match="no worklist"):
        annotate(run)
    with pytest.raises(ConfigError, match="asked for 99 units, but 1 to"):
        annotate_free = tmp_path / "free"
        shutil.copytree(run, annotate_free, symlinks=True)
        (annotate_free / "worklists.jsonl").unlink()
        query(annotate_free, tmp_path / "x", 99)
    with pytest.raises(ConfigError, match="budget of the run is spent"):
        query(annotate_free, tmp_path / "x")
    spent = {"purpose": "annotate", "round": 1, "unit": "phantom_003", "slices": 1, "voxels": 1}
    with (annotate_free / "queries.jsonl").open("a") as log:
        log.write(json.dumps(spent | {"seconds": 1.0}) + "\n")
    with pytest.raises(ConfigError, match="was begun by `salearn run`"):
        query(annotate_free, tmp_path / "x", 1)


def test_data_without_any_mask_are_annotated_by_people_from_the_first_round_on(
    begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = next((begun / "store" / "phantoms").glob("[!.]*"))
    shutil.copytree(source / "imagesTr", tmp_path / "images")
    data = {
        "root": str(tmp_path), "format": "folder", "images": "images/*.nii.gz", "axis": 1,
        "classes": {"anterior": 1, "posterior": 2}, "split": {"test": 0},
    }  # fmt: skip
    config = tiny.write(
        tmp_path, data=data, unit="slice", budget=[2, 3], strategy="random", sinks=[]
    )

    def door(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["salearn", *words])
        try:
            cli.main()
        except SystemExit as stop:
            told = capsys.readouterr()
            return int(stop.code or 0), told.out + told.err
        raise AssertionError("the door did not close")

    worklist = tmp_path / "w"
    code, told = door("run", str(config))
    assert code == 1
    assert "needs people" in told
    assert door("query", str(config), "--out", str(worklist))[0] == 0  # as the budget says: 2
    code, told = door("annotate", str(worklist))
    assert code == 1
    assert "nothing is drawn in it" in told
    for case, path in masks(worklist).items():
        shutil.copyfile(source / "labelsTr" / f"{case}.nii.gz", path)
    code, told = door("annotate", str(worklist), "--json")
    assert code == 0
    assert json.loads(told)["complete"]
    code, told = door("run", str(config))
    assert code == 1  # round 0 is trained, round 1 needs people again
    assert "not measured: there are no test cases" in told
    (record,) = read_lines(tmp_path / "run" / "rounds.jsonl")
    assert (record["num_labeled"], record["metrics"]) == (2, [])
    assert all("@" in unit for unit in record["selected"])
    code, told = door("query", str(tmp_path / "run"), "--out", str(worklist))
    assert code == 2
    assert "holds the list of round 0" in told
    following = str(tmp_path / "w1")
    units = json.loads(door("query", str(tmp_path / "run"), "--out", following, "--json")[1])
    assert (units["round"], len(units["units"])) == (1, 1)
