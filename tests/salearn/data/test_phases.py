import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from salearn.cases import CaseId
from salearn.data.nifti import write_image
from salearn.data.phantom4d import Phantom4dSettings, write_phantom4d
from salearn.data.phases import PhaseSource, read_phases
from salearn.data.phases_check import check_phases
from salearn.data.phases_split import as_dataset
from salearn.data.splits import SplitSettings, make_split
from salearn.data.volumes import read_volume
from salearn.errors import ConfigError, DataError
from salearn.store import Store

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def written(folder: Path, layout: str = "folder", annotated: str = "all") -> PhaseSource:
    given = Phantom4dSettings(
        shape=(12, 12, 8), spacing=(20, 20, 18), phases=4, layout=layout, annotated=annotated
    )  # type: ignore[arg-type]
    write_phantom4d(folder, 2, given)
    return PhaseSource(root=str(folder))


def test_a_phase_is_a_case_of_its_patient_in_either_layout(tmp_path: Path) -> None:
    store, pairs = Store(tmp_path / "store"), []
    for layout in ("folder", "4d"):
        found = read_phases(written(tmp_path / layout, layout))
        assert found.cyclic
        data = as_dataset(found, store)
        assert [case.id for case in data.cases][:2] == ["thorax_000_00", "thorax_000_25"]
        assert {case.patient for case in data.cases} == {"thorax_000", "thorax_001"}
        assert len(data.masks) == 8
        pairs.append(data)
    for a, b in zip(pairs[0].cases, pairs[1].cases, strict=True):
        one, other = read_volume(a), read_volume(b)
        assert (one.image == other.image).all()
        assert one.affine == pytest.approx(other.affine)
    case = CaseId("thorax_001_50")
    masks = [np.asarray(nib.load(data.masks[case]).dataobj) for data in pairs]
    assert (masks[0] == masks[1]).all()


def test_masks_may_be_on_some_phases_only(tmp_path: Path) -> None:
    found = read_phases(written(tmp_path / "a", annotated="one"))
    data = as_dataset(found, Store(tmp_path / "store"))
    assert (len(data.cases), len(data.masks)) == (8, 2)
    report = check_phases(written(tmp_path / "a", annotated="one"))
    assert report.ok
    assert "1 of 4 phases have contours" in report.warnings[0].problem


def test_a_mask_in_four_dimensions_is_not_opened_before_it_is_asked_for(tmp_path: Path) -> None:
    source = written(tmp_path / "a", "4d")
    found = read_phases(source)
    file = tmp_path / "a/masks/thorax_001.nii.gz"  # the checker of annotations opens the first
    file.write_bytes(b"poisoned")
    data = as_dataset(found, Store(tmp_path / "store"))
    assert CaseId("thorax_001_00") in data.masks
    with pytest.raises(DataError, match=r"thorax_001\.nii\.gz"):
        _ = data.masks[CaseId("thorax_001_00")]
    assert data.masks[CaseId("thorax_000_00")].exists()


def test_patients_are_not_torn_apart_by_a_split(tmp_path: Path) -> None:
    data = as_dataset(read_phases(written(tmp_path / "a")), Store(tmp_path / "store"))
    split = make_split(data, SplitSettings(test=4))
    assert len({case.rsplit("_", 1)[0] for case in split.test}) == 1


def test_amplitude_bins_are_no_circle(tmp_path: Path) -> None:
    source = written(tmp_path / "a")
    assert not read_phases(PhaseSource(root=source.root, kind="amplitude")).cyclic


def make(root: Path, names: tuple[str, ...], **said: object) -> PhaseSource:
    for phase in names:
        array = np.random.default_rng(int(phase)).integers(0, 99, (6, 6, 4)).astype(np.int16)
        write_image(root / "images/p1" / f"{phase}.nii.gz", array, AFFINE)
    words = {
        "kind": "cyclic",
        "phases": list(names),
        "images": "images/{case}/{phase}.nii.gz",
        "classes": {"lung": 1},
    } | said
    (root / "phases.json").write_text(json.dumps({k: v for k, v in words.items() if v}))
    return PhaseSource(root=str(root))


def test_a_missing_phase_is_named(tmp_path: Path) -> None:
    source = make(tmp_path, ("1", "2", "3"))
    (tmp_path / "images/p1/2.nii.gz").unlink()
    with pytest.raises(DataError, match=r"p1.*2\.nii\.gz: phase 2 is missing"):
        read_phases(source)


def test_phases_of_different_grids_are_refused(tmp_path: Path) -> None:
    source = make(tmp_path, ("1", "2", "3"))
    file = tmp_path / "images/p1/2.nii.gz"
    write_image(file, np.zeros((6, 6, 5), np.int16), AFFINE)
    with pytest.raises(DataError, match=r"2\.nii\.gz: shape .* differs .* of the phase 1"):
        read_phases(source)
    write_image(file, np.zeros((6, 6, 4), np.int16), np.diag([2.0, 2.0, 2.5, 1.0]))
    with pytest.raises(DataError, match="affine differs"):
        read_phases(source)


def test_one_phase_is_no_motion(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="only 1 phase; a motion needs at least 2"):
        read_phases(make(tmp_path, ("1",)))
    file = tmp_path / "b/images/p1.nii.gz"
    write_image(file, np.zeros((6, 6, 4), np.int16), AFFINE)
    with pytest.raises(DataError, match="only 1 phase"):
        read_phases(make(tmp_path / "b", (), images="images/{case}.nii.gz"))


@pytest.mark.parametrize(
    ("key", "words"),
    [("kind", "cyclic .* amplitude"), ("phases", "order of the phases"), ("classes", "classes")],
)
def test_what_must_be_declared_is_asked_for(tmp_path: Path, key: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_phases(make(tmp_path, ("1", "2"), **{key: None}))


def test_a_slip_in_the_declaration_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown keys"):
        read_phases(make(tmp_path, ("1", "2"), order="12"))
    with pytest.raises(ConfigError, match="kind"):
        read_phases(make(tmp_path, ("1", "2"), kind="circular"))


def test_another_number_of_volumes_is_refused(tmp_path: Path) -> None:
    source = written(tmp_path / "a", "4d")
    file = tmp_path / "a/images/thorax_001.nii.gz"
    write_image(file, np.zeros((12, 12, 8, 3), np.int16), np.diag([20.0, 20.0, 18.0, 1.0]))
    with pytest.raises(DataError, match="holds 3 volumes, 4 are declared"):
        read_phases(source)


def test_the_check_lists_every_defect(tmp_path: Path) -> None:
    source = written(tmp_path / "a")
    root = tmp_path / "a"
    (root / "images/thorax_001/50.nii.gz").unlink()
    (root / "images/thorax_000/25.nii.gz").write_bytes(
        (root / "images/thorax_000/00.nii.gz").read_bytes()
    )
    mask = nib.load(root / "masks/thorax_000/00.nii.gz")
    wrong = np.full(mask.shape, 9, np.uint8)
    write_image(root / "masks/thorax_000/00.nii.gz", wrong, mask.affine)
    report = check_phases(source)
    problems = " | ".join(defect.problem for defect in report.errors)
    assert "phase 50 is missing" in problems
    assert "volumes 0 and 1" in problems
    assert "unknown label values 9" in problems
    assert len(report.errors) == 3
    assert report.to_json()["num_cases"] == 2
