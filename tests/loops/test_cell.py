"""One cell through the whole machine: resume, kill -9, poisoned masks, bad folders."""

import errno
import gzip
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

from loops import cli
from loops.cell import run_cell
from loops.config import parse_run
from loops.measuring.predict import embed_cases, predict_files
from salearn import store
from salearn.data.phantoms import PhantomSettings, write_phantoms
from salearn.errors import ConfigError, DataError
from salearn.store import read_json, read_lines

WHOLE = {"strategy": "hybrid", "learner": "sfr_mean_teacher"}
pytestmark = pytest.mark.slow


def run(folder: Path, **changes: Any) -> dict[str, Any]:
    return run_cell(parse_run(tiny.values(folder, **changes), "test"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the whole machine."""
    folder = tmp_path_factory.mktemp("whole")
    run(folder, **WHOLE)
    return folder


def test_every_stage_leaves_its_record(whole: Path) -> None:
    out = whole / "run"
    records = read_lines(out / "rounds.jsonl")
    assert [record["num_labeled"] for record in records] == [1, 2]
    stages = {(row["split"], row["stage"], row["class"]) for row in records[0]["metrics"]}
    for stage in ("sam", "student", "teacher"):
        for name in ("anterior", "posterior", "mean"):
            assert ("test", stage, name) in stages
            assert ("validation", stage, name) in stages
    assert len(records[0]["scores"]) == 6  # 9 cases - 2 test - 1 validation
    assert records[0]["pseudo"]["num_cases"] == 3
    trainings = read_lines(out / "trainings.jsonl")
    assert [(t["stage"], t["round"]) for t in trainings] == [
        ("adapters", 0),
        ("students", 0),
        ("adapters", 1),
        ("students", 1),
    ]
    for name in ("config.yaml", "run.json", "split.json", "cases.jsonl", "timings.jsonl"):
        assert (out / name).stat().st_size > 0
    assert list((out / "tensorboard").glob("events.*"))
    assert (out / "models" / "round_001" / "adapter" / "adapter_config.json").exists()
    assert (out / "models" / "round_001" / "student" / "teacher.safetensors").exists()


def test_the_query_log_is_the_budget(whole: Path) -> None:
    out = whole / "run"
    lines = read_lines(out / "queries.jsonl")
    annotated = [line["unit"] for line in lines if line["purpose"] == "annotate"]
    assert annotated == [u for r in read_lines(out / "rounds.jsonl") for u in r["selected"]]
    assert {line["purpose"] for line in lines} == {"annotate", "test", "validation"}
    measured = {line["unit"] for line in lines if line["purpose"] != "annotate"}
    assert not measured & set(annotated)


def test_the_same_command_again_does_nothing(whole: Path) -> None:
    before = (whole / "run" / "trainings.jsonl").read_bytes()
    assert run(whole, **WHOLE)["ran"] == 0
    assert (whole / "run" / "trainings.jsonl").read_bytes() == before


def test_another_folder_finds_every_training_in_the_store(whole: Path) -> None:
    result = run(whole, **WHOLE, out=str(whole / "again"))
    assert result["ran"] == 2
    assert not (whole / "again" / "trainings.jsonl").exists()
    log = "rounds.jsonl"
    assert (whole / "again" / log).read_bytes() == (whole / "run" / log).read_bytes()


def test_other_settings_in_the_same_folder_are_refused(whole: Path) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        run(whole, **(WHOLE | {"draw_seed": 5}))


def test_a_killed_run_ends_like_an_uncut_one_and_trains_nothing_twice(
    whole: Path, tmp_path: Path
) -> None:
    config = tiny.write(tmp_path, **WHOLE)
    code = f"import sys; sys.argv=['salearn','run','{config}']; from loops.cli import main; main()"
    log = tmp_path / "run" / "trainings.jsonl"
    for wanted in (1, 3):  # killed after the first adapter, and after the second
        process = subprocess.Popen(
            [sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        while process.poll() is None and len(read_lines(log)) < wanted:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    name = "rounds.jsonl"
    assert (tmp_path / "run" / name).read_bytes() == (whole / "run" / name).read_bytes()
    trainings = [(t["stage"], t["round"]) for t in read_lines(log)]
    assert len(trainings) == len(set(trainings)) == 4


def test_poisoned_masks_of_unlabeled_cases_change_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_phantoms(root, 9, PhantomSettings())
    data = tiny.values(tmp_path)["data"]
    data = {k: v for k, v in data.items() if k != "phantom_cases"} | {"root": str(root)}
    run(tmp_path, **WHOLE, data=data)
    opened = {line["unit"] for line in read_lines(tmp_path / "run" / "queries.jsonl")}
    split = read_json(tmp_path / "run" / "split.json")
    hidden = set(split["parts"]["pool"]["cases"]) - opened
    assert len(hidden) == 4
    for case in hidden:
        (root / "labelsTr" / f"{case}.nii.gz").write_bytes(gzip.compress(b"garbage"))
    before = (tmp_path / "run" / "rounds.jsonl").read_bytes()
    for folder in ("run", "store"):
        shutil.rmtree(tmp_path / folder)
    run(tmp_path, **WHOLE, data=data)
    assert (tmp_path / "run" / "rounds.jsonl").read_bytes() == before


def test_a_full_disk_in_round_1_leaves_round_0_and_the_run_goes_on_later(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tiny.write(tmp_path, **WHOLE)
    flush = store._flush

    def full(path: Path) -> None:
        if (tmp_path / "run" / "rounds.jsonl").exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        flush(path)

    monkeypatch.setattr(store, "_flush", full)
    monkeypatch.setattr(sys, "argv", ["salearn", "run", str(config)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert "the disk is full" in capsys.readouterr().err
    monkeypatch.setattr(store, "_flush", flush)
    name = "rounds.jsonl"
    assert len(read_lines(tmp_path / "run" / name)) == 1
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    assert (tmp_path / "run" / name).read_bytes() == (whole / "run" / name).read_bytes()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("image", "phantom_003"),
        ("nan", "phantom_003"),
        ("mask shape", "phantom_003"),
    ],
)
def test_a_spoilt_file_is_named_with_its_case(spoil: str, message: str, tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_phantoms(root, 9, PhantomSettings())
    image, mask = (root / part / "phantom_003.nii.gz" for part in ("imagesTr", "labelsTr"))
    if spoil == "image":
        image.write_bytes(image.read_bytes()[:500])
    elif spoil == "nan":
        loaded = nib.load(image)
        array = np.asarray(loaded.dataobj, np.float32)
        array[3, 3, 3] = np.nan
        nib.save(nib.Nifti1Image(array, loaded.affine), image)
    else:
        loaded = nib.load(mask)
        nib.save(nib.Nifti1Image(np.asarray(loaded.dataobj)[1:], loaded.affine), mask)
    data = tiny.values(tmp_path)["data"] | {"root": str(root)}
    data = {k: v for k, v in data.items() if k != "phantom_cases"}
    data["split"] = {"test": ["phantom_000"], "validation": 0}
    with pytest.raises(DataError, match=message):
        run(tmp_path, learner="supervised", data=data, budget=[8], max_unlabeled=None)


@pytest.mark.parametrize("learner", ["supervised", "mean_teacher", "sfr_supervised"])
def test_every_learner_runs_on_slices_too(learner: str, tmp_path: Path) -> None:
    result = run(
        tmp_path,
        learner=learner,
        unit="slice",
        budget=[3, 5],
        strategy="hybrid",
    )
    records = read_lines(Path(result["out"]) / "rounds.jsonl")
    assert [len(record["selected"]) for record in records] == [3, 2]
    assert all("@" in unit for record in records for unit in record["selected"])


def test_the_student_of_a_run_segments_files_on_their_own_grid(whole: Path) -> None:
    image = next((whole / "store" / "phantoms").glob("*/imagesTr/phantom_004.nii.gz"))
    (written,) = predict_files(whole / "run", [image], whole / "predicted")
    before, after = nib.load(image), nib.load(written)
    assert after.shape == before.shape
    assert np.allclose(after.affine, before.affine)
    assert set(np.unique(np.asarray(after.dataobj))) <= {0, 1, 2}


def test_predictions_are_written_on_request_even_if_the_scores_are_known(whole: Path) -> None:
    run(whole, **WHOLE, out=str(whole / "asked"), save_predictions=True)
    written = sorted((whole / "asked" / "predictions").rglob("*.nii.gz"))
    assert len(written) == 2 * 3 * 3  # rounds x stages x (2 test + 1 validation cases)


def test_a_corrected_test_mask_is_scored_anew(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write_phantoms(root, 9, PhantomSettings())
    data = tiny.values(tmp_path)["data"] | {"root": str(root)}
    del data["phantom_cases"]
    first = run(tmp_path, data=data, budget=[1])
    case = read_json(tmp_path / "run" / "split.json")["parts"]["test"]["cases"][0]
    path = root / "labelsTr" / f"{case}.nii.gz"
    loaded = nib.load(path)
    mask = np.asarray(loaded.dataobj).copy()
    mask[mask == 1] = 0
    nib.save(nib.Nifti1Image(mask, loaded.affine), path)
    second = run(tmp_path, data=data, budget=[1], out=str(tmp_path / "again"))
    assert first["final"] != second["final"]


def test_embedding_again_finds_every_vector_in_the_store(
    whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse_run(tiny.values(whole, **WHOLE), "test")
    found = embed_cases(config)
    assert found["cases"] == 9
    assert found["slices"] > 9 * 40
    monkeypatch.setattr("salearn.models.sam3.load_sam", None)  # not needed a second time
    assert embed_cases(config) == found
