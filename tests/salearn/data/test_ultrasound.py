"""Ultrasound-like phantoms: the same for the same seed, some without nodule, and a shifted set."""

from pathlib import Path

import numpy as np
import pytest

from salearn.data.checks import check
from salearn.data.formats import DataSource, read_dataset
from salearn.data.ultrasound import UltrasoundSettings, make_patient, write_ultrasound
from salearn.data.volumes import read_volume
from salearn.errors import ConfigError

SMALL = UltrasoundSettings(size=(40, 56), unlabeled=2, external=5)


def test_a_patient_depends_on_seed_and_number_alone() -> None:
    one, same = make_patient(3, SMALL), make_patient(3, SMALL)
    assert 1 <= len(one) <= 3
    for a, b in zip(one, same, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.mask, b.mask)
    other = make_patient(3, UltrasoundSettings(size=(40, 56), seed=1))
    assert other[0].image.shape != one[0].image.shape or (other[0].image != one[0].image).any()


def test_nodules_are_mostly_darker_than_their_surroundings_and_some_pictures_have_none() -> None:
    scans = [scan for i in range(25) for scan in make_patient(i, SMALL)]
    areas = np.array([scan.area for scan in scans])
    assert 0.1 < (areas == 0).mean() < 0.45  # 0.25 is asked for
    assert areas.max() < 0.3 * 56 * 56
    darker = []
    for scan in scans:
        inside = scan.mask > 0
        if inside.any():
            near = np.roll(inside, 8, axis=0) & ~inside
            darker.append(scan.image[inside].mean() < scan.image[near].mean())
    assert np.mean(darker) > 0.6
    none = UltrasoundSettings(size=(40, 56), empty=1.0)
    assert all(scan.area == 0 for i in range(4) for scan in make_patient(i, none))


def test_the_written_sets_pass_their_check_and_differ_in_domain(tmp_path: Path) -> None:
    write_ultrasound(tmp_path / "us", 7, SMALL)
    write_ultrasound(tmp_path / "us", 7, SMALL)  # again: nothing to do
    means = {}
    for folder, masked, cases in ((tmp_path / "us", 7, 9), (tmp_path / "us/external", 5, 5)):
        source = DataSource(root=str(folder))
        assert check(source).ok
        dataset = read_dataset(source)
        assert (len(dataset.masks), len(dataset.cases)) == (masked, cases)
        assert dataset.classes == ("nodule",)
        assert all(case.patient for case in dataset.cases)
        assert len({read_volume(c).image.shape for c in dataset.cases}) > 2
        means[folder.name] = np.mean([read_volume(c).image.mean() for c in dataset.cases])
    assert means["external"] < 0.7 * means["us"]
    with pytest.raises(ConfigError, match="another data set"):
        write_ultrasound(tmp_path / "us", 8, SMALL)
