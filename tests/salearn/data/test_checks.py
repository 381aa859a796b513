from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from salearn.data.checks import Report, check, render
from salearn.data.phantoms import write_phantoms
from salearn.data.source import DataSource
from salearn.errors import ConfigError

Make = Callable[..., Path]
SHAPE = (4, 5, 6)
NOISE = np.random.default_rng(9).normal(50, 5, SHAPE).astype(np.float32)
DOT = np.zeros(SHAPE, np.uint8)
DOT[1, 1, 1], DOT[2, 2, 2] = 1, 2


def look(root: Path) -> Report:
    return check(DataSource(root=str(root)))


def test_a_sound_data_set_has_no_defects_and_every_case_is_listed(msd: Make) -> None:
    root = msd(masked=2, unmasked=1)
    report = look(root)
    assert report.ok
    assert not report.warnings
    plain = report.to_json()
    assert plain["num_cases"] == 3
    first, last = plain["cases"][0], plain["cases"][2]
    assert first["shape"] == SHAPE
    assert (first["orientation"], first["spacing"]) == ("RAS", (1.0, 1.0, 1.0))
    assert (first["classes"], first["masked"]) == (("front", "back"), True)
    assert first["files"] == (
        str(root / "imagesTr/c0.nii.gz"),
        str(root / "labelsTr/c0.nii.gz"),
    )
    assert (last["classes"], last["masked"]) == ((), False)
    json.dumps(plain)


def errors_of(report: Report, case: str) -> str:
    return " | ".join(d.problem for d in report.errors if d.case == case)


def test_every_defect_is_found_in_one_pass(msd: Make, save: Make) -> None:
    root = msd(masked=12)
    image = [root / f"imagesTr/c{i}.nii.gz" for i in range(12)]
    mask = [root / f"labelsTr/c{i}.nii.gz" for i in range(12)]
    image[0].write_bytes(b"broken")
    save(mask[1], DOT[:, :, :5])
    save(mask[2], DOT, np.diag([1, 1, 1.5, 1]))
    bad = NOISE.copy()
    bad[0, 0, 0] = np.nan
    save(image[3], bad)
    save(mask[3], DOT[1:])  # a second defect of the same case
    save(mask[4], DOT * 3)
    save(mask[5], DOT * np.float32(0.5))
    save(mask[6], DOT.astype(np.float32))
    save(mask[7], DOT * 0)
    image[8].write_bytes(image[9].read_bytes())
    save(image[10], NOISE * 0 + 4)
    mask[11].unlink()
    report = look(root)
    assert "cannot be read" in errors_of(report, "c0")
    assert "shape (4, 5, 5)" in errors_of(report, "c1")
    assert "affine differs" in errors_of(report, "c2")
    assert "1 voxels are NaN" in errors_of(report, "c3")
    assert "shape (3, 5, 6)" in errors_of(report, "c3")
    assert "unknown label values 3, 6" in errors_of(report, "c4")
    assert "unknown label values 0.5" in errors_of(report, "c5")
    assert "same image as case c8" in errors_of(report, "c9")
    assert "every voxel of the image is 4" in errors_of(report, "c10")
    assert "the mask is missing" in errors_of(report, "c11")
    assert len(report.errors) == 10
    assert [(d.case, d.problem) for d in report.warnings] == [
        ("c6", "the mask is stored as floating point"),
        ("c7", "the mask is empty"),
    ]
    assert not report.ok
    assert all(d.file and d.remedy for d in (*report.errors, *report.warnings))
    assert len(report.cases) == 12
    assert report.cases[0].shape == ()


def test_channels_on_different_grids_and_a_flat_channel_are_found(msd: Make, save: Make) -> None:
    root = msd(masked=1)
    save(root / "x/a.nii", NOISE)
    save(root / "x/b.nii", NOISE[:2] * 0)
    entries = [{"image": ["x/a.nii", "x/b.nii"], "id": "two"}]
    content = json.loads((root / "dataset.json").read_text())
    (root / "dataset.json").write_text(json.dumps(content | {"training": entries}))
    report = look(root)
    assert "differs from (4, 5, 6) of the first channel" in errors_of(report, "two")
    assert [d.problem for d in report.warnings] == ["a channel has the same value everywhere"]
    assert report.cases[0].channels == 2


def test_the_same_image_compressed_otherwise_is_still_a_duplicate(msd: Make, save: Make) -> None:
    root = msd(masked=1)
    save(root / "imagesUn/u.nii", NOISE)
    save(root / "imagesUn/v.nii.gz", NOISE.astype(np.float64))
    assert "same image as case u" in errors_of(look(root), "v")


def test_wrong_keys_missing_images_and_unused_classes_are_reported(msd: Make) -> None:
    root = msd(masked=1)
    entries = [
        {"image": "imagesTr/c0.nii.gz", "label": "labelsTr/c0.nii.gz", "fald": 1},
        {"image": "imagesTr/gone.nii.gz"},
        {"label": "labelsTr/c0.nii.gz"},
    ]
    labels = {"0": "background", "1": "front", "2": "back", "3": "side"}
    content = json.loads((root / "dataset.json").read_text())
    content |= {"training": entries, "labels": labels}
    (root / "dataset.json").write_text(json.dumps(content))
    report = look(root)
    assert [(d.case, d.problem) for d in report.errors] == [
        ("c0", "training[0]: unknown key 'fald'"),
        ("", "training[2]: the mask labelsTr/c0.nii.gz has no image"),
        ("gone", "the image is missing"),
    ]
    assert report.errors[0].remedy == "did you mean 'fold'?"
    assert ["'side'" in d.problem for d in report.warnings] == [True]


def test_nothing_to_list_is_one_error_but_no_root_is_a_wrong_setting(tmp_path: Path) -> None:
    report = look(tmp_path / "none")
    assert (len(report.cases), len(report.errors)) == (0, 1)
    assert report.to_json()["num_cases"] == 0
    with pytest.raises(ConfigError, match="root"):
        check(DataSource())


def test_a_folder_without_declared_classes_is_checked_all_the_same(
    tmp_path: Path, save: Make
) -> None:
    save(tmp_path / "images/a.nii", NOISE)
    save(tmp_path / "masks/a.nii", DOT)
    report = look(tmp_path)
    assert [d.remedy for d in report.errors] == [
        "set data.classes, for example data.classes='{liver: 1}'"
    ]
    assert report.cases[0].masked


def test_the_text_names_cases_defects_and_totals(msd: Make, save: Make) -> None:
    root = msd(masked=1, unmasked=1)
    save(root / "labelsTr/c0.nii.gz", DOT * 0)
    lines = render(look(root)).splitlines()
    assert lines[0].split() == ["case", "shape", "spacing", "mm", "axes", "classes", "patient"]
    assert lines[1].split() == ["c0", "4x5x6", "1x1x1", "RAS", "none", "-"]
    assert "(no mask)" in lines[2]
    assert any(line.startswith("warning: case c0, file") for line in lines)
    assert lines[-1] == "2 cases, 1 with a mask, 0 errors, 3 warnings"


def test_progress_is_told_after_each_case(msd: Make) -> None:
    told: list[tuple[int, int]] = []
    check(DataSource(root=str(msd(masked=2))), lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]


def test_phantoms_pass_the_check(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "p", 3)
    report = look(tmp_path / "p")
    assert report.ok
    assert not report.warnings


@pytest.mark.data
def test_the_hippocampus_set_has_two_float_masks_and_no_error(hippocampus: Path) -> None:
    report = look(hippocampus)
    assert report.ok
    assert [d.case for d in report.warnings] == ["hippocampus_003", "hippocampus_243"]
    assert all(row.classes == ("Anterior", "Posterior") for row in report.cases)
