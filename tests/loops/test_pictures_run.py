"""A whole run on ultrasound phantoms: refusals first, then PNG results, pixels as unit, AUC."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from loops.cell import run_cell
from loops.config import parse_run
from loops.measuring.evaluate import evaluate_files, render
from loops.measuring.predict import predict_files
from salearn.data.ultrasound import UltrasoundSettings, write_ultrasound
from salearn.errors import ConfigError, DataError
from salearn.report.auc_cells import auc_blocks
from salearn.report.references import refuse_mixed_references
from salearn.report.runs import read_runs
from salearn.report.tables import metric_rows
from salearn.store import read_lines

SMALL = {"width": 4, "depth": 2, "patch": [16, 16, 1], "iterations": 6, "checkpoint_every": 3}
LEVELS = ["pixel_micro", "pixel_macro", "image"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("us") / "data"
    write_ultrasound(root, 12, UltrasoundSettings(size=(40, 56)))
    return root


def values(root: Path, out: Path, **more) -> dict:
    data = {"root": str(root), "split": {"test": 4}}
    return {
        "data": data, "budget": [3], "student": SMALL, "stitch": {"policy": "single"},
        "out": str(out), "panels": 0, "sinks": [], **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"student": {**SMALL, "patch": [16, 16, 8]}}, "student.patch='\\[96, 96, 1\\]'"),
        ({"learner": "sfr_supervised", "stitch": {}}, "stitch.policy=single"),
        ({"unit": "slice"}, "a picture is one slice"),
        ({"learner": "sassnet"}, "looks along three axes"),
    ],
)
def test_settings_of_volumes_are_refused_with_the_right_ones(
    pictures: Path, tmp_path: Path, more: dict, told: str
) -> None:
    with pytest.raises(ConfigError, match=told):
        run_cell(parse_run(values(pictures, tmp_path / "run", **more), "test"))


def test_a_test_set_of_mixed_references_is_refused_before_anything_runs(
    pictures: Path, tmp_path: Path
) -> None:
    table = pictures / "references.csv"
    try:
        table.write_text("case,kind\n" + "".join(f"us_{i:04d},box\n" for i in range(0, 12, 2)))
        given = values(pictures, tmp_path / "run")
        given["data"]["split"] = {"test": ["us_0000", "us_0001"]}  # one patient
        with pytest.raises(DataError, match="several kinds"):
            run_cell(parse_run(given, "test"))
        with pytest.raises(DataError, match="several kinds"):
            evaluate_files(pictures / "labelsTr", pictures / "labelsTr")
    finally:
        table.unlink(missing_ok=True)


@pytest.mark.slow
def test_a_run_on_pictures_writes_pngs_and_aucs_and_says_pixels(
    pictures: Path, tmp_path: Path
) -> None:
    more = {
        "auc": {"levels": LEVELS}, "save_predictions": True, "learner": "sfr_mean_teacher",
        "finetune": {"iterations": 2}, "sam": {"weights": "tiny", "resolution": 64},
        "strategy": {"name": "random", "limits": {"whole_patients": True}}, "budget": [2, 4],
    }  # fmt: skip
    run_cell(parse_run(values(pictures, tmp_path / "run", **more), "test"))
    record = json.loads((tmp_path / "run/run.json").read_text())
    assert (record["length_unit"], record["reference_kind"]) == ("px", "manual_mask")
    files = sorted((tmp_path / "run/predictions/round_001/student").iterdir())
    for file in files:
        with Image.open(pictures / "imagesTr" / file.name) as image, Image.open(file) as made:
            assert made.size == image.size
            assert set(np.unique(np.asarray(made))) <= {0, 255}
    last = read_lines(tmp_path / "run/rounds.jsonl")[-1]
    assert {(row["stage"], row["level"]) for row in last["auc"]} == {
        (stage, level) for stage in ("sam", "student", "teacher") for level in LEVELS
    }
    assert len(read_lines(tmp_path / "run/auc_cases.jsonl")) == 2 * 3 * len(files)
    runs = read_runs([tmp_path / "run"]).runs
    metrics = {row["metric"]: row for row in metric_rows(runs)}
    assert metrics["auc_pixel_micro"]["length_unit"] == "px"
    assert {f"{kind}_{level}" for kind in ("auc", "ap") for level in LEVELS} <= set(metrics)
    assert auc_blocks(runs, "auc")[0].kind == "table"
    refuse_mixed_references(runs)
    out = predict_files(tmp_path / "run", [pictures / "imagesTr/us_0003.png"], tmp_path / "p")
    assert out[0].name == "us_0003.png"
    result = evaluate_files(out[0], pictures / "labelsTr/us_0003.png")
    assert "distances are in px" in render(result)
