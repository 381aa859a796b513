from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from salearn.data.formats import DataSource, read_dataset, survey
from salearn.errors import ConfigError, DataError
from salearn.settings import parse

BOX = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def change(root: Path, **keys: Any) -> None:
    path = root / "dataset.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def read(root: Path, **keys: Any) -> Any:
    return read_dataset(DataSource(root=str(root), **keys))


def test_an_msd_datalist_gives_cases_classes_and_mask_paths(msd: Callable[..., Path]) -> None:
    root = msd(masked=2, unmasked=1)
    data = read(root)
    assert (data.name, data.format, data.ignore) == ("Toy", "msd", None)
    assert (data.classes, data.values) == (("front", "back"), (1, 2))
    assert [case.id for case in data.cases] == ["c0", "c1", "c2"]
    assert data.cases[0].images == (root / "imagesTr/c0.nii.gz",)
    assert data.masks == {c: root / f"labelsTr/{c}.nii.gz" for c in ("c0", "c1")}


def test_the_datalist_file_itself_may_be_the_root(msd: Callable[..., Path]) -> None:
    root = msd()
    moved = (root / "dataset.json").rename(root / "fold_0.json")
    assert len(read(moved).cases) == 3


def test_unlabeled_entries_and_files_of_images_un_are_cases_without_masks(
    msd: Callable[..., Path], save: Callable[..., Path]
) -> None:
    root = msd(masked=1)
    save(root / "extra/u1.nii.gz", BOX)
    save(root / "imagesUn/u2.nii", BOX)
    save(root / "imagesUn/._u2.nii", BOX)  # what a Mac leaves in archives
    change(root, unlabeled=[{"image": "extra/u1.nii.gz"}, "imagesUn/u2.nii"])
    save(root / "imagesUn/u3.nii.gz", BOX)
    data = read(root)
    assert [case.id for case in data.cases] == ["c0", "u1", "u2", "u3"]
    assert list(data.masks) == ["c0"]


def test_test_entries_are_left_out_unless_asked_for_and_never_have_a_mask(
    msd: Callable[..., Path], save: Callable[..., Path]
) -> None:
    root = msd(masked=1)
    save(root / "imagesTs/t.nii.gz", BOX)
    change(root, test=["./imagesTs/t.nii.gz"])
    assert [case.id for case in read(root).cases] == ["c0"]
    with_test = read(root, include_test=True)
    assert [case.id for case in with_test.cases] == ["c0", "t"]
    assert list(with_test.masks) == ["c0"]


def test_an_entry_may_list_channels_patient_id_and_fold(
    msd: Callable[..., Path], save: Callable[..., Path]
) -> None:
    root = msd(masked=1)
    save(root / "a/t1.nii.gz", BOX)
    save(root / "a/t2.nii.gz", BOX)
    entry = {"image": ["a/t1.nii.gz", "a/t2.nii.gz"], "id": "scan", "patient": 7, "fold": 0}
    change(root, training=[entry])
    (case,) = read(root).cases
    assert (case.id, case.patient, len(case.images)) == ("scan", "7", 2)


def test_files_of_one_name_in_two_folders_get_their_folders_into_the_id(
    msd: Callable[..., Path], save: Callable[..., Path]
) -> None:
    root = msd(masked=1)
    for name in ("p1", "p2"):
        save(root / name / "t1.nii.gz", BOX)
    change(root, training=["p1/t1.nii.gz", "./p2/t1.nii.gz"])
    assert [case.id for case in read(root).cases] == ["p1_t1", "p2_t1"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"training": [{"image": "imagesTr/c0.nii.gz", "lable": "x"}]}, "did you mean 'label'"),
        ({"unlabelled": [{"image": "x.nii.gz"}]}, "did you mean 'unlabeled'"),
        ({"trainng": ["a.nii.gz"]}, "did you mean 'training'"),
        ({"training": [{"label": "labelsTr/c0.nii.gz"}]}, "has no image"),
        ({"training": [3]}, "neither a path nor an object"),
        ({"training": {"image": "x"}}, "not a list"),
        ({"training": ["imagesTr/c0.nii.gz", "imagesTr/c0.nii.gz"]}, "listed twice"),
        ({"training": [{"image": "imagesTr/c0.nii.gz", "id": "a@1"}]}, "'@'"),
        ({"training": ["imagesTr/none.nii.gz"]}, "the image is missing"),
        ({"training": [{"image": "imagesTr/c0.nii.gz", "label": "no.nii"}]}, "mask is missing"),
        ({"unlabeled": [{"image": "imagesTr/c0.nii.gz", "label": "x"}]}, "move the entry"),
        ({"labels": {}}, "'labels' is missing or empty"),
        ({"labels": {"0": "background", "tumor": [1, 2]}}, "is not a class"),
    ],
)
def test_a_wrong_datalist_is_refused_with_what_to_do(
    msd: Callable[..., Path], keys: dict[str, Any], words: str
) -> None:
    root = msd(masked=1)
    change(root, **keys)
    with pytest.raises(DataError, match=words):
        read(root)


def test_all_defects_are_surveyed_and_the_error_counts_those_it_does_not_show(
    msd: Callable[..., Path],
) -> None:
    root = msd()
    change(root, training=[f"imagesTr/none{i}.nii.gz" for i in range(8)])
    _, defects = survey(DataSource(root=str(root)))
    assert [d.case for d in defects] == [f"none{i}" for i in range(8)]
    with pytest.raises(DataError, match="and 3 more"):
        read(root)


def test_mask_files_are_never_opened(msd: Callable[..., Path]) -> None:
    root = msd()
    for path in (root / "labelsTr").iterdir():
        path.write_bytes(b"not a mask")
    assert len(read(root).masks) == 3


@pytest.fixture
def nnunet(tmp_path: Path, save: Callable[..., Path]) -> Path:
    root = tmp_path / "Dataset007_Toy"
    for case in ("a", "b_2"):
        for channel in range(2):
            save(root / f"imagesTr/{case}_{channel:04d}.nii.gz", BOX + channel)
    save(root / "labelsTr/b_2.nii.gz", (BOX > 3).astype(np.uint8))
    for channel in range(2):
        save(root / f"imagesUn/u_{channel:04d}.nii.gz", BOX)
    content = {
        "channel_names": {"0": "T1", "1": "T2"},
        "labels": {"background": 0, "edge": 2, "core": 1, "ignore": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (root / "dataset.json").write_text(json.dumps(content))
    return root


def test_nnunet_raw_gives_channels_optional_masks_and_the_ignore_label(nnunet: Path) -> None:
    data = read(nnunet)
    assert (data.name, data.format, data.ignore) == ("Dataset007_Toy", "nnunet", 3)
    assert (data.classes, data.values) == (("core", "edge"), (1, 2))
    assert [case.id for case in data.cases] == ["a", "b_2", "u"]
    assert [path.name for path in data.cases[1].images] == ["b_2_0000.nii.gz", "b_2_0001.nii.gz"]
    assert list(data.masks) == ["b_2"]


def test_nnunet_missing_and_surplus_channels_and_lone_masks_are_named(
    nnunet: Path, save: Callable[..., Path]
) -> None:
    (nnunet / "imagesTr/a_0001.nii.gz").unlink()
    save(nnunet / "imagesTr/b_2_0002.nii.gz", BOX)
    save(nnunet / "imagesTr/noname.nii.gz", BOX)
    save(nnunet / "labelsTr/z.nii.gz", BOX)
    data, defects = survey(DataSource(root=str(nnunet)))
    assert {(d.case, Path(d.file).name) for d in defects} == {
        ("a", "a_0001.nii.gz"),
        ("b_2", "b_2_0002.nii.gz"),
        ("", "noname.nii.gz"),
        ("z", "z.nii.gz"),
    }
    assert [case.id for case in data.cases] == ["b_2", "u"]


def test_nnunet_files_that_are_not_nifti_are_refused(nnunet: Path) -> None:
    change(nnunet, file_ending=".nrrd")
    with pytest.raises(DataError, match="convert"):
        read(nnunet)


def test_a_plain_folder_is_matched_by_pattern(tmp_path: Path, save: Callable[..., Path]) -> None:
    for case in ("x", "y"):
        save(tmp_path / f"mr/{case}_t1.nii.gz", BOX)
    save(tmp_path / "seg/y_seg.nii", BOX)
    keys = {
        "images": "mr/{case}_t1.nii.gz",
        "masks": "seg/{case}_seg.nii",
        "classes": {"lesion": 1},
    }
    data = read(tmp_path, **keys)
    assert (data.format, [case.id for case in data.cases]) == ("folder", ["x", "y"])
    assert (data.classes, dict(data.masks)) == (("lesion",), {"y": tmp_path / "seg/y_seg.nii"})


def test_a_plain_folder_has_usual_names_and_needs_classes(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    save(tmp_path / "images/x.nii.gz", BOX)
    save(tmp_path / "labels/x.nii.gz", BOX)
    with pytest.raises(DataError, match=r"set data\.classes"):
        read(tmp_path)
    assert list(read(tmp_path, classes={"a": 1}).masks) == ["x"]
    save(tmp_path / "labels/z.nii.gz", BOX)
    with pytest.raises(DataError, match=r"case z.*mask without image"):
        read(tmp_path, classes={"a": 1})


def test_two_files_for_one_case_of_a_folder_are_refused(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    save(tmp_path / "p1/t1.nii.gz", BOX)
    save(tmp_path / "p2/t1.nii.gz", BOX)
    with pytest.raises(DataError, match="second file"):
        read(tmp_path, images="**/*.nii.gz", classes={"a": 1})
    found = read(tmp_path, images="{case}/t1.nii.gz", classes={"a": 1}).cases
    assert [case.id for case in found] == ["p1", "p2"]


@pytest.mark.parametrize(
    ("keys", "kind", "words"),
    [
        ({}, ConfigError, r"data\.root: not set"),
        ({"root": "nowhere"}, DataError, "no such folder"),
        ({"root": "."}, DataError, r"set data\.images"),
        ({"root": ".", "format": "msd"}, DataError, r"dataset\.json: there is none"),
    ],
)
def test_a_missing_root_or_dataset_json_says_what_to_do(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
    kind: type[Exception],
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=words):
        read_dataset(DataSource(**keys))


def test_a_dataset_json_of_no_known_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dataset.json"
    for text, words in (("{", "is not JSON"), ("[]", "no JSON object"), ("{}", "neither")):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            read(tmp_path)


def test_patients_come_from_the_pattern_or_the_table(msd: Callable[..., Path]) -> None:
    root = msd(masked=2)
    assert [case.patient for case in read(root).cases] == [None, None]
    assert [case.patient for case in read(root, patient=r"c(\d)").cases] == ["0", "1"]
    (root / "patients.csv").write_text("case,patient\nc0,anna\nc1,anna\n")
    assert [case.patient for case in read(root).cases] == ["anna", "anna"]
    (root / "patients.csv").write_text("case,patient\nc0,anna\n")
    with pytest.raises(DataError, match=r"case c1.*no patient is known"):
        read(root)
    (root / "patients.csv").write_text("name,who\nc0,anna\n")
    with pytest.raises(DataError, match="needs the columns"):
        read(root)


def test_settings_of_a_source_are_checked() -> None:
    for keys in ({"patient": "c.*"}, {"patient": "("}, {"masks": "a.nii"}, {"formt": "msd"}):
        with pytest.raises(ConfigError, match=next(iter(keys))):
            parse(DataSource, keys, "data")


@pytest.mark.data
def test_the_hippocampus_folder_is_read(hippocampus: Path) -> None:
    data = read(hippocampus)
    assert (len(data.cases), len(data.masks)) == (200, 200)
    assert (data.name, data.classes, data.values) == (
        "Hippocampus",
        ("Anterior", "Posterior"),
        (1, 2),
    )


def test_declared_classes_override_those_of_the_file(msd: Callable[..., Path]) -> None:
    root = msd()
    assert read(root, classes={"whole": 2, "part": 1}).classes == ("part", "whole")
    with pytest.raises(ConfigError, match="its own value"):
        read(root, classes={"a": 1, "b": 1})
    shutil.rmtree(root / "labelsTr")
    with pytest.raises(DataError, match="mask is missing"):
        read(root)
