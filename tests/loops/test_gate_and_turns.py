"""SFR with a gate, selective pseudo-labels and SFR+ through the whole machine, at tiny size."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import tiny

from loops.cell import run_cell
from loops.config import parse_run
from salearn.data.phantoms import PhantomSettings, write_phantoms
from salearn.store import read_json, read_lines

pytestmark = pytest.mark.slow
HALF = {"estimator": "foreground", "keep": "quantile", "quantile": 0.34}
PLUS = {
    "learner": "sfr_plus_supervised",
    "budget": [2],
    "sfr_plus": {
        "reliable": HALF, "labels": "agreed", "student": "continue", "optimiser": "carried",
        "keep_high": "student", "sam_iterations": 1,
    },
}  # fmt: skip


def run(folder: Path, **changes: Any) -> list[dict[str, Any]]:
    out = Path(run_cell(parse_run(tiny.values(folder, **changes), "test"))["out"])
    return read_lines(out / "rounds.jsonl")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished bare run and a plain SFR run over one store."""
    folder = tmp_path_factory.mktemp("plain")
    run(folder, learner="supervised", budget=[2], out=str(folder / "bare"))
    run(folder, learner="sfr_supervised", budget=[2], out=str(folder / "sfr"))
    return folder


def trained(folder: Path, name: str) -> list[tuple[str, int]]:
    return [(t["stage"], t["round"]) for t in read_lines(folder / name / "trainings.jsonl")]


def student(record: dict[str, Any]) -> str:
    key: str = record["keys"]["student"]
    return key


def test_a_gate_that_admits_nobody_gives_the_student_of_the_bare_host(plain: Path) -> None:
    (bare,) = read_lines(plain / "bare" / "rounds.jsonl")
    for name, change in (
        ("off", {"selective": {"mode": "off"}}),
        ("sure", {"pseudo": {"keep": "threshold", "threshold": 1.0}}),
        ("apart", {"gate": {"agreement": 1.0}}),
    ):
        changes = {"learner": "sfr_supervised", "budget": [2], "out": str(plain / name), **change}
        (record,) = run(plain, **changes)
        assert student(record) == student(bare)
        assert record["gate"]["closed"]
        assert record["gate"]["why"] == "no case was admitted"
        assert record["gate"]["num_admitted"] == 0
        assert not (plain / name / "trainings.jsonl").exists()  # all of it was in the store


def test_an_open_gate_is_plain_sfr_and_finds_its_student(plain: Path) -> None:
    (sfr,) = read_lines(plain / "sfr" / "rounds.jsonl")
    gate = {"weight": "search", "weights": [0, 1], "margin": -1}
    (record,) = run(plain, learner="sfr_supervised", budget=[2], gate=gate, out=str(plain / "open"))
    assert record["gate"]["weight"] == 1
    assert not record["gate"]["closed"]
    assert student(record) == student(sfr)
    assert record["gate"]["choice"]["held_out"] == "cases"
    tried = record["gate"]["choice"]["tried"]
    assert [row["weight"] for row in tried] == [0, 1]
    # Two folds: an adapter each, a student for each candidate; nothing else was missing.
    assert sorted(trained(plain, "open")) == [("adapters", 0)] * 2 + [("students", 0)] * 4


def test_a_margin_that_nothing_beats_closes_the_gate(plain: Path) -> None:
    (bare,) = read_lines(plain / "bare" / "rounds.jsonl")
    for rule in ("search", "compare"):
        gate = {"weight": rule, "weights": [0, 1], "margin": 1}
        changes = {"learner": "sfr_supervised", "budget": [2], "gate": gate}
        (record,) = run(plain, **changes, out=str(plain / f"closed_{rule}"))
        assert record["gate"]["weight"] == 0
        assert record["gate"]["why"] == f"weight 0 ({rule})"
        assert student(record) == student(bare)


def test_one_mask_is_held_out_in_slabs(plain: Path) -> None:
    gate = {"weight": "compare", "slab": 4}
    (record,) = run(plain, learner="sfr_supervised", budget=[1], gate=gate, out=str(plain / "one"))
    assert record["gate"]["choice"]["held_out"] == "slabs"
    gate = {"weight": "compare", "slab": 0}
    (record,) = run(plain, learner="sfr_supervised", budget=[1], gate=gate, out=str(plain / "none"))
    assert record["gate"]["choice"]["rule"] == "fixed"
    assert "nothing to hold out" in record["gate"]["choice"]["why"]


def test_every_gate_at_once_leaves_its_numbers_in_the_record(plain: Path) -> None:
    (record,) = run(
        plain,
        learner="sfr_supervised",
        budget=[2],
        pseudo={"estimator": "agreement", "keep": "calibrated", "target": 0.0},
        selective={"mode": "both", "share": [1.0, 1.0], "reach": 0, "voxels": True},
        gate={"voxels": True},
        audit=True,
        out=str(plain / "all"),
    )
    gate = record["gate"]
    assert gate["num_made"] == gate["num_admitted"] == 3
    assert gate["choice"]["threshold"] is not None
    assert set(record["audit"]) == {"admitted", "refused"}
    assert record["audit"]["admitted"]["num_cases"] == 3
    rows = read_lines(plain / "all" / "audit.jsonl")
    right, all_ = sum(r["right"] for r in rows), sum(r["foreground"] for r in rows)
    precision = record["audit"]["admitted"]["voxel_precision"]
    assert precision == (round(right / all_, 6) if all_ else None)
    opened = read_lines(plain / "all" / "queries.jsonl")
    assert {q["unit"] for q in opened if q["purpose"] == "audit"} == {r["case"] for r in rows}


def test_online_pseudo_labels_train_and_store_nothing(plain: Path) -> None:
    made = len(list((plain / "store" / "pseudo").iterdir()))
    (record,) = run(
        plain, learner="sfr_supervised", budget=[2], pseudo={"source": "online"},
        out=str(plain / "online"),
    )  # fmt: skip
    assert record["gate"]["labels"] == "online"
    assert not record["gate"]["closed"]
    assert len(list((plain / "store" / "pseudo").iterdir())) == made
    (bare,) = read_lines(plain / "bare" / "rounds.jsonl")
    assert student(record) != student(bare)
    link = (plain / "online" / "models" / "round_000" / "student").resolve()
    assert "pseudo" in read_lines(link / "train.jsonl")[-1]


def test_sfr_plus_measures_every_turn_and_ends_alike_after_a_kill(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    (record,) = run(whole, **PLUS)
    assert [turn["turn"] for turn in record["turns"]] == [0, 1]
    later = record["turns"][1]
    assert (later["num_high"], later["num_low"], later["num_kept"]) == (1, 2, 1)
    assert later["keys"] == record["keys"]
    assert later["keys"] != record["turns"][0]["keys"]
    stages = {row["stage"] for row in record["metrics"]}
    assert stages == {"sam", "student", "teacher", "sam_turn_0", "student_turn_0"}
    assert trained(whole, "run") == [("adapters", 0), ("students", 0)] * 2
    cut = tmp_path / "cut"
    cut.mkdir()
    _kill_after(tiny.write(cut, **PLUS), cut / "run" / "trainings.jsonl", (3,))
    for name in ("rounds.jsonl", "trainings.jsonl"):
        assert (cut / "run" / name).read_bytes() == (whole / "run" / name).read_bytes()


def _kill_after(config: Path, log: Path, counts: tuple[int, ...]) -> None:
    code = f"import sys; sys.argv=['salearn','run','{config}']; from loops.cli import main; main()"
    for wanted in counts:
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while process.poll() is None and len(read_lines(log)) < wanted:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_poisoned_hidden_masks_change_an_audit_and_no_byte_of_training(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_phantoms(root, 9, PhantomSettings())
    data = tiny.values(tmp_path)["data"] | {"root": str(root)}
    del data["phantom_cases"]
    changes: dict[str, Any] = PLUS | {"data": data, "audit": True, "gate": {"agreement": 0.001}}
    (before,) = run(tmp_path, **changes)
    weights = _students(tmp_path / "store")
    log = read_lines(tmp_path / "run" / "queries.jsonl")
    used = {line["unit"] for line in log if line["purpose"] != "audit"}
    hidden = set(read_json(tmp_path / "run" / "split.json")["parts"]["pool"]["cases"]) - used
    assert {line["unit"] for line in log if line["purpose"] == "audit"} <= hidden
    for case in hidden:
        path = root / "labelsTr" / f"{case}.nii.gz"
        loaded = nib.load(path)
        wrong = np.ones_like(np.asarray(loaded.dataobj))
        nib.save(nib.Nifti1Image(wrong, loaded.affine), path)
    for folder in ("run", "store"):
        shutil.rmtree(tmp_path / folder)
    (after,) = run(tmp_path, **changes)
    assert after["audit"] != before["audit"]
    assert {k: v for k, v in after.items() if k != "audit"} == {
        k: v for k, v in before.items() if k != "audit"
    }
    assert _students(tmp_path / "store") == weights


def _students(store: Path) -> dict[str, bytes]:
    files = sorted((store / "students").glob("*/student.safetensors"))
    assert len(files) >= 2
    return {file.parent.name: file.read_bytes() for file in files}
