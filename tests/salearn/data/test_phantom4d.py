import json
from functools import lru_cache
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from salearn.data.phantom4d import (
    Phantom4d,
    Phantom4dSettings,
    make_phantom4d,
    write_phantom4d,
)
from salearn.data.phantom4d_shape import HEART, LUNG, TUMOUR
from salearn.errors import ConfigError
from salearn.motion.metrics import centroid_track

FINE = Phantom4dSettings(shape=(48, 48, 36), spacing=(5.3, 5.3, 4.0), missorted=0)
SMALL = Phantom4dSettings(shape=(24, 24, 12), spacing=(10.0, 10.0, 12.0), phases=4)


@lru_cache
def fine() -> Phantom4d:
    return make_phantom4d(0, FINE)


def test_the_masks_move_as_the_truth_says() -> None:
    made = fine()
    track = centroid_track(made.masks == TUMOUR, FINE.spacing)
    truth = np.array(made.truth["tumour_shift_mm"])
    moved, wanted = track - track.mean(axis=0), truth - truth.mean(axis=0)
    assert np.abs(moved - wanted).max() < 2.0  # half a voxel
    assert np.ptp(truth[:, 2]) > 4


def test_inhaling_lowers_the_diaphragm_and_fills_the_lungs() -> None:
    made = fine()
    depth = np.array(made.truth["diaphragm_shift_mm"])
    lungs = (made.masks == LUNG).sum(axis=(1, 2, 3))
    assert depth.argmin() in (0, 1, 9)  # phase 0 is the end of inhale
    assert np.corrcoef(depth, lungs)[0, 1] < -0.95
    assert all((made.masks == label).any() for label in (LUNG, HEART, TUMOUR))


def test_the_tumour_goes_a_loop_but_not_in_amplitude_bins() -> None:
    shift = np.array(fine().truth["tumour_shift_mm"])
    front, down = shift[:, 1], shift[:, 2]
    assert abs(np.corrcoef(front, down)[0, 1]) < 0.999
    bins = Phantom4dSettings(kind="amplitude", shape=(24, 24, 12), spacing=(10, 10, 12))
    shift = np.array(make_phantom4d(0, bins).truth["tumour_shift_mm"])
    assert shift[:, 1] == pytest.approx(shift[:, 2] * shift[-1, 1] / shift[-1, 2], abs=1e-3)


def test_sorting_errors_are_in_the_images_and_not_in_the_truth() -> None:
    always = Phantom4dSettings(shape=(24, 24, 12), spacing=(10, 10, 12), missorted=1)
    clean = Phantom4dSettings(shape=(24, 24, 12), spacing=(10, 10, 12), missorted=0)
    wrong, right = make_phantom4d(3, always), make_phantom4d(3, clean)
    assert (wrong.masks == right.masks).all()
    assert len(wrong.truth["missorted"]) == 10
    assert right.truth["missorted"] == []


def test_hu_are_those_of_tissues() -> None:
    made = fine()
    image, mask = made.images[5].astype(float), made.masks[5]
    assert np.median(image[mask == LUNG]) == pytest.approx(-815, abs=25)
    assert np.median(image[mask == HEART]) == pytest.approx(48, abs=15)
    assert np.median(image[0, 0]) == pytest.approx(-1000, abs=15)
    # The border of the heart to the mediastinum is low in contrast: 13 HU at a noise of 28.
    assert abs(np.median(image[mask == HEART]) - 35) < 28


@pytest.mark.parametrize(
    ("layout", "annotated", "images", "masks"),
    [("folder", "all", 8, 8), ("folder", "one", 8, 2), ("4d", "all", 2, 2), ("4d", "some", 2, 2)],
)
def test_files_are_as_declared(
    tmp_path: Path, layout: str, annotated: str, images: int, masks: int
) -> None:
    given = Phantom4dSettings(
        shape=SMALL.shape, spacing=SMALL.spacing, phases=4, layout=layout, annotated=annotated
    )  # type: ignore[arg-type]
    write_phantom4d(tmp_path, 2, given)
    assert len(list((tmp_path / "images").rglob("*.nii.gz"))) == images
    assert len(list((tmp_path / "masks").rglob("*.nii.gz"))) == masks
    file = next((tmp_path / "images").rglob("*.nii.gz"))
    assert nib.load(file).shape == ((24, 24, 12, 4) if layout == "4d" else (24, 24, 12))
    said = json.loads((tmp_path / "phases.json").read_text())
    assert said["phases"] == ["00", "25", "50", "75"]
    truth = json.loads((tmp_path / "phantom4d.json").read_text())["cases"]
    assert len(truth[0]["tumour_shift_mm"]) == 4


def test_cases_do_not_depend_on_how_many_there_are_and_are_not_written_twice(
    tmp_path: Path,
) -> None:
    write_phantom4d(tmp_path, 1, SMALL)
    file = tmp_path / "images/thorax_000/25.nii.gz"
    before = file.read_bytes(), file.stat().st_mtime_ns
    write_phantom4d(tmp_path, 1, SMALL)
    assert (file.read_bytes(), file.stat().st_mtime_ns) == before
    write_phantom4d(tmp_path / "two", 2, SMALL)
    assert (tmp_path / "two/images/thorax_000/25.nii.gz").read_bytes() == before[0]
    with pytest.raises(ConfigError, match="another data set"):
        write_phantom4d(tmp_path, 2, SMALL)
