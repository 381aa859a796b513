"""The command line is a contract: exit codes, one-paragraph errors, one JSON document."""

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tiny

from loops import cli
from loops.door import FAILED, WRONG_USAGE, refusal

HIPPOCAMPUS = Path(__file__).parents[3] / "shared" / "data" / "Task04_Hippocampus"


def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of `salearn words...` in this process."""
    monkeypatch.setattr(sys, "argv", ["salearn", *words])
    code = 0
    try:
        cli.main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


def test_help_answers_without_importing_anything_heavy() -> None:
    code = (
        "import sys; sys.argv=['salearn','--help']\n"
        "from loops.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch','transformers','monai','peft','ray','pandas','sklearn','scipy','numpy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "Run one cell" in done.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("strategy=rondom", "did you mean 'random'"),
        ("data.root=/nowhere/at/all", "/nowhere/at/all"),
        ("budget=[1, 99]", "only 6 units of the pool can be annotated"),
        ("student.iteratons=3", "did you mean 'iterations'"),
        ("data.split.test=99", "test"),
        ("learner=none_such", "unknown learner"),
    ],
)
def test_bad_settings_are_one_paragraph_and_an_exit_code(
    change: str,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny.write(tmp_path)
    code, out, err = call(capsys, monkeypatch, "run", str(config), change)
    assert code in (FAILED, WRONG_USAGE)
    assert message in err
    assert err.startswith("salearn: ")
    assert err.count("\n") == 1
    assert out == ""


def test_a_missing_config_and_an_unknown_kind_are_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(capsys, monkeypatch, "run", "none.yaml")[0] == WRONG_USAGE
    code, _, err = call(capsys, monkeypatch, "list", "strategys")
    assert code == WRONG_USAGE
    assert "strategies" in err


def test_lists_are_json_rows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "list", "strategies", "--json")
    rows = json.loads(out)
    assert code == 0
    assert {"random", "dkd", "asd", "hybrid"} <= {row["name"] for row in rows}
    assert all(set(row) == {"name", "summary", "source"} for row in rows)
    for kind in ("hosts", "arms", "backbones", "datasets"):
        code, out, _ = call(capsys, monkeypatch, "list", kind, "--json")
        assert code == 0
        assert json.loads(out)


def test_a_full_or_read_only_disk_is_named_with_what_to_do() -> None:
    import errno

    full = refusal(OSError(errno.ENOSPC, "No space left", "/x/rounds.jsonl"))
    assert full is not None
    assert str(full).startswith("/x/rounds.jsonl: the disk is full")
    assert "goes on from there" in str(full)
    locked = refusal(OSError(errno.EROFS, "Read-only", "/x"))
    assert locked is not None
    assert "read-only" in str(locked)
    assert refusal(KeyError("a fault of the program")) is None


def test_a_phantom_data_set_passes_its_check_and_a_broken_one_does_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    assert call(capsys, monkeypatch, "data", "phantom", str(root), "--cases", "3")[0] == 0
    code, out, _ = call(capsys, monkeypatch, "data", "check", str(root), "--json")
    found = json.loads(out)
    assert (code, found["num_cases"], found["errors"]) == (0, 3, [])
    victim = sorted((root / "labelsTr").iterdir())[0]
    victim.write_bytes(b"no gzip")
    code, out, _ = call(capsys, monkeypatch, "data", "check", str(root), "--json")
    errors = json.loads(out)["errors"]
    assert code == FAILED
    assert victim.name in errors[0]["file"]
    assert all(errors[0][key] for key in ("problem", "remedy"))


def test_evaluate_scores_folders_of_label_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    call(capsys, monkeypatch, "data", "phantom", str(root), "--cases", "2")
    labels = str(root / "labelsTr")
    code, out, _ = call(capsys, monkeypatch, "evaluate", labels, labels, "--json")
    result = json.loads(out)
    assert code == 0
    assert [row["dice"] for row in result["cases"]] == [1.0] * 4
    empty = tmp_path / "empty"
    empty.mkdir()
    code, _, err = call(capsys, monkeypatch, "evaluate", str(empty), labels)
    assert code == FAILED
    assert "no prediction for" in err


def test_evaluate_gains_the_scores_that_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    call(capsys, monkeypatch, "data", "phantom", str(root), "--cases", "1")
    drawn = next((root / "labelsTr").iterdir())
    image = nib.load(drawn)
    missed = np.where(np.asarray(image.dataobj) == 2, 0, image.dataobj).astype(np.uint8)
    nib.save(nib.Nifti1Image(missed, image.affine), tmp_path / "missed.nii.gz")
    files = ("evaluate", str(tmp_path / "missed.nii.gz"), str(drawn))
    plain = json.loads(call(capsys, monkeypatch, *files, "--json")[1])
    options = ("--surfel", "--parity", "--directed", "--tolerance", "1", "--empty", "inf")
    code, out, _ = call(capsys, monkeypatch, *files, *options, "--json")
    first, second = json.loads(out)["cases"]
    extra = {"hd95_surfel_mm", "nsd_surfel", "hd95_voxel", "asd_voxel", "asd_mm", "asd_back_mm"}
    assert code == 0
    assert set(first) - set(plain["cases"][0]) == extra
    assert (second["status"], second["hd95_mm"], second["nsd"]) == ("missed", None, 0.0)
    assert plain["cases"][1]["precision"] is None
    mean = json.loads(out)["summary"][-1]
    assert mean["micro"]["precision"] == 1.0
    _, table, _ = call(capsys, monkeypatch, *files, *options)
    assert {"f1_micro", *extra} <= set(table.splitlines()[0].split())
    code, _, _ = call(capsys, monkeypatch, *files, "--empty", "zero")
    assert code == WRONG_USAGE


def test_doctor_says_what_it_found(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "doctor", "--json")
    rows = json.loads(out)
    assert code == int(not all(row["ok"] for row in rows))
    assert {"torch", "python", "torchvision"} <= {row["what"] for row in rows}


@pytest.mark.data
@pytest.mark.skipif(not HIPPOCAMPUS.exists(), reason="the data set is not beside the repository")
def test_the_real_data_set_passes_its_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call(capsys, monkeypatch, "data", "check", str(HIPPOCAMPUS), "--json")
    found = json.loads(out)
    assert (code, found["num_cases"], found["errors"]) == (0, 200, [])
    floats = [row["case"] for row in found["warnings"] if "float" in row["problem"]]
    assert floats == ["hippocampus_003", "hippocampus_243"]
