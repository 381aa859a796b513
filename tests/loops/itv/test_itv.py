import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from loops.cli import app
from loops.itv.config import ItvConfig, load_itv, parse_itv
from loops.itv.run import run_itv
from loops.progress import Progress
from salearn.data.phantom4d import Phantom4dSettings, write_phantom4d
from salearn.errors import ConfigError
from salearn.store import read_lines

STRUCTURES = {
    "lung": {"window": [-600, 1500], "rule": {"keep": 2}, "constant_volume": False},
    "heart": {"window": [40, 400], "rule": {"keep": 1}},
    "tumour": {"window": [-600, 1500], "rule": {"keep": "all", "min_volume_mm3": 0}},
}
PHANTOM = {"shape": [20, 20, 8], "spacing": [12, 12, 18], "phases": 4}


def values(folder: Path, **changes: Any) -> dict[str, Any]:
    return {
        "data": {
            "phantom_cases": 3,
            "split": {"test": 4, "validation": 0, "seed": 0},
            "phantom4d": PHANTOM,
            "reference_kind": "exact",
        },
        "structures": STRUCTURES,
        "budget": [1],
        "filters": ["none", "component+connectivity"],
        "mining": ["hard"],
        "evidence": {"views": 1},
        "sam": {"resolution": 32},
        "finetune": {"iterations": 2, "batch": 2},
        "out": str(folder / "run"),
        "store": str(folder / "store"),
    } | changes


def config(folder: Path, **changes: Any) -> ItvConfig:
    return parse_itv(values(folder, **changes), "test")


QUIET = Progress(enabled=False)


@pytest.mark.slow
def test_a_job_goes_end_to_end_and_is_not_done_twice(tmp_path: Path) -> None:
    mined = {"generic": {"count": 1, "texts": ["coffee cup"]}, "per_volume": 0.25}
    given = config(tmp_path, full=True, strategy="dkd", negatives=mined)
    result = run_itv(given, QUIET)
    assert (result["rounds"], result["ran"]) == (1, 1)
    records = [json.loads(p.read_text()) for p in (tmp_path / "store").rglob("record.json")]
    assert all("coffee cup" in record["generic"]["texts"] for record in records)
    assert records
    budgets = {row["num_labeled"] for row in result["summary"]}
    assert budgets == {1, "all"}
    assert len(result["summary"]) == 2 * 2 * 3  # budgets, filters, classes
    rows = read_lines(tmp_path / "run/itv.jsonl")
    assert {row["status"] for row in rows} == {"ok"}
    log = read_lines(tmp_path / "run/queries.jsonl")
    assert sum(line["purpose"] == "annotate" for line in log) == 1
    assert all(line["seconds"] > 0 for line in log)  # a phase has its cost
    page = (tmp_path / "run/report.html").read_text()
    for words in ("Internal target volumes", "Motion tracks", "Occupancy and panels"):
        assert words in page
    told = CliRunner().invoke(app, ["report", str(tmp_path / "run"), "--json"])
    assert told.exit_code == 0, repr(told.exception)
    dice = [row for row in json.loads(told.stdout) if row["metric"] == "dice"]
    assert len(dice) == 2 * 2 * 3
    assert (tmp_path / "run/report/report.html").read_text() == page
    again = run_itv(given, QUIET)
    assert again["ran"] == 0
    assert json.dumps(again["summary"]) == json.dumps(result["summary"])
    trained = read_lines(tmp_path / "run/trainings.jsonl")
    assert len(trained) == 2 * 2  # two windows; one phase and all


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["mosaic", "rgb", "planes"])
def test_every_way_of_seeing_a_volume_works(tmp_path: Path, mode: str) -> None:
    stitch = {"tile": [16, 16], "fit": "resize"} if mode == "mosaic" else {}
    rounds = {"budget": [1, 2], "strategy": "entropy"} if mode == "rgb" else {}
    given = config(
        tmp_path, mode=mode, filters=["soft"], stitch=stitch, panels=0, mining=["off"], **rounds
    )
    result = run_itv(given, QUIET)
    assert len(result["summary"]) == 3 * result["rounds"]
    log = read_lines(tmp_path / "run/queries.jsonl")
    chosen = [line["unit"] for line in log if line["purpose"] == "annotate"]
    assert len(set(chosen)) == result["rounds"]  # other phases each round, each with its cost


@pytest.mark.slow
def test_files_lie_on_the_grid_of_the_input_and_partial_references_are_told(
    tmp_path: Path,
) -> None:
    root = tmp_path / "data"
    write_phantom4d(
        root, 3,
        Phantom4dSettings(
            shape=(20, 20, 8), spacing=(12, 12, 18), phases=4, layout="4d", annotated="some"
        ),
    )  # fmt: skip
    for path in (root / "images").glob("*.nii.gz"):  # another affine, axes LPS
        image = nib.load(path)
        affine = np.diag([-12.0, -12.0, 18.0, 1.0])
        affine[:3, 3] = [100, 90, -30]
        array = np.asarray(image.dataobj)
        nib.save(nib.Nifti1Image(array, affine), path)
        for mask in (root / "masks" / path.name[:-7]).glob("*.nii.gz"):
            content = np.asarray(nib.load(mask).dataobj)
            nib.save(nib.Nifti1Image(content, affine), mask)
    student = {"iterations": 2, "width": 4, "depth": 2, "patch": [16, 16, 8]}
    given = config(
        tmp_path,
        data={"root": str(root), "split": {"test": 1, "validation": 0, "seed": 0}},
        segmenter="student", mining=["off"], student=student,
    )  # fmt: skip
    result = run_itv(given, QUIET)
    files = sorted(Path(result["files"]).rglob("*.nii.gz"))
    names = [file.name for file in files]
    assert names.count("itv_tumour.nii.gz") == 1
    assert len(names) == 3 + 3 + 4  # ITVs, occupancies, phases
    for file in files:
        assert nib.load(file).affine == pytest.approx(affine)
        assert nib.load(file).shape == (20, 20, 8)
    rows = read_lines(tmp_path / "run/itv.jsonl")
    assert {row["status"] for row in rows} == {"no reference ITV"}
    assert all(len(row["reference_phases"]) == 1 for row in rows)


def test_a_class_without_a_rule_is_refused_before_anything_is_trained(tmp_path: Path) -> None:
    broken = {k: v for k, v in STRUCTURES.items() if k != "heart"}
    with pytest.raises(ConfigError, match=r"structures\.heart: missing"):
        run_itv(config(tmp_path, structures=broken), QUIET)
    with pytest.raises(ConfigError, match=r"structures\.hart.*heart"):
        run_itv(config(tmp_path, structures=STRUCTURES | {"hart": STRUCTURES["heart"]}), QUIET)
    with pytest.raises(ConfigError, match="rule"):
        config(tmp_path, structures={"lung": {"window": [-600, 1500]}})
    assert not (tmp_path / "run" / "rounds.jsonl").exists()


def test_what_cannot_be_is_said_by_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ask for 5 phases, but a scan has 4"):
        run_itv(config(tmp_path, filter={"run": 5}), QUIET)
    with pytest.raises(ConfigError, match="reference_phase: 'exhale'"):
        run_itv(config(tmp_path, reference_phase="exhale"), QUIET)
    with pytest.raises(ConfigError, match="stays in HU"):
        config(tmp_path, data={"recipe": {"kind": "zscore"}})
    with pytest.raises(ConfigError, match="whole phase"):
        config(tmp_path, unit="slice")
    with pytest.raises(ConfigError, match="different names"):
        config(tmp_path, filters=["none", "none"])


def test_the_shipped_config_is_read_and_filters_are_listed() -> None:
    given = load_itv(Path("configs/itv.yaml"))
    assert given.budget == (1, 3, 7)
    assert set(given.structures) == {"lung", "heart", "tumour"}
    found = CliRunner().invoke(app, ["list", "filters", "--json"])
    assert {row["name"] for row in json.loads(found.stdout)} == {
        "none", "voxel", "component", "component+connectivity", "soft",
    }  # fmt: skip


def test_the_door_writes_and_checks_4d_phantoms(tmp_path: Path) -> None:
    out = str(tmp_path / "data")
    made = CliRunner().invoke(
        app, ["data", "phantom4d", out, "--cases", "1", "--phases", "2", "--json"]
    )
    assert json.loads(made.stdout)["phases"] == ["00", "50"]
    found = CliRunner().invoke(app, ["data", "check", out, "--json"])
    assert found.exit_code == 0
    assert json.loads(found.stdout)["num_cases"] == 1
