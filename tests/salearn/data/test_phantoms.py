from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from salearn.data.formats import read_dataset
from salearn.data.phantom_shape import smooth_field
from salearn.data.phantoms import PhantomSettings, make_phantom, write_phantoms
from salearn.data.source import DataSource
from salearn.data.volumes import read_mask, read_volume
from salearn.errors import ConfigError

PLAIN = PhantomSettings()


@pytest.fixture(scope="module")
def made() -> list:
    return [make_phantom(i, PLAIN) for i in range(16)]


def test_a_phantom_data_set_reads_as_msd_with_and_without_masks(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "p", 3, PhantomSettings(unlabeled=2))
    data = read_dataset(DataSource(root=str(tmp_path / "p")))
    assert [case.id for case in data.cases] == [f"phantom_{i:03d}" for i in range(5)]
    assert list(data.masks) == ["phantom_000", "phantom_001", "phantom_002"]
    assert data.classes == ("anterior", "posterior")
    truth = json.loads((tmp_path / "p/phantom.json").read_text())
    assert [row["masked"] for row in truth["cases"]] == [True] * 3 + [False] * 2
    for index, case in enumerate(data.cases[:3]):
        phantom, volume = make_phantom(index, PLAIN), read_volume(case)
        mask = read_mask(data.masks[case.id], case.id, data.values, volume)
        np.testing.assert_array_equal(volume.image[0], phantom.image.astype(np.float32))
        np.testing.assert_array_equal(mask, phantom.mask)
        assert truth["cases"][index]["scanner"] == phantom.scanner.name


def test_equal_seeds_give_equal_files_whatever_their_number(tmp_path: Path) -> None:
    write_phantoms(tmp_path / "a", 2)
    write_phantoms(tmp_path / "b", 1, PhantomSettings(unlabeled=1))
    write_phantoms(tmp_path / "c", 1, PhantomSettings(seed=1))
    files = ["a/imagesTr/phantom_001", "b/imagesUn/phantom_001", "c/imagesTr/phantom_000"]
    first, second, other = ((tmp_path / f"{f}.nii.gz").read_bytes() for f in files)
    assert first == second
    assert other != (tmp_path / "a/imagesTr/phantom_000.nii.gz").read_bytes()


def test_writing_again_does_nothing_and_other_data_is_not_overwritten(tmp_path: Path) -> None:
    write_phantoms(tmp_path, 1)
    image = tmp_path / "imagesTr/phantom_000.nii.gz"
    before = image.stat().st_mtime_ns
    write_phantoms(tmp_path, 1)
    assert image.stat().st_mtime_ns == before
    with pytest.raises(ConfigError, match="holds another data set"):
        write_phantoms(tmp_path, 2)
    with pytest.raises(ConfigError, match="at least 1"):
        write_phantoms(tmp_path / "x", 0)


def test_phantoms_have_the_sizes_and_the_two_parts_of_a_hippocampus(made: list) -> None:
    for phantom in made:
        x, y, z = phantom.mask.shape
        assert 32 <= x <= 40
        assert 46 <= y <= 56
        assert 32 <= z <= 40
        assert phantom.image.shape == phantom.mask.shape
        anterior, posterior = ((phantom.mask == k).sum() for k in (1, 2))
        assert 300 < posterior < 4000
        assert 300 < anterior < 6000
        front, back = (np.nonzero(phantom.mask == k)[1].mean() for k in (1, 2))
        assert front > back  # y grows to the front
        parts, number = ndimage.label(phantom.mask > 0)
        assert np.bincount(parts.ravel())[1:].max() > 0.97 * (phantom.mask > 0).sum(), number


def test_scanners_differ_in_frequency_type_and_scale(made: list) -> None:
    found = Counter(phantom.scanner.name for phantom in made)
    assert found["alpha"] > found["beta"] > 0
    assert len(found) >= 3
    kinds = {phantom.scanner.name: phantom.image.dtype.name for phantom in made}
    assert (kinds["alpha"], kinds["beta"]) == ("float32", "uint8")
    top = {phantom.scanner.name: float(phantom.image.max()) for phantom in made}
    assert top["gamma"] > 1e5 > top["alpha"] > 255 >= top["beta"]


def test_rare_shapes_occur_as_often_as_asked() -> None:
    none = PhantomSettings(rare=0.0)
    every = PhantomSettings(rare=1.0)
    assert {make_phantom(i, none).shape for i in range(4)} == {"usual"}
    assert "usual" not in {make_phantom(i, every).shape for i in range(4)}


def test_the_body_is_darker_than_its_sheath_but_brightness_alone_does_not_find_it(
    made: list,
) -> None:
    for phantom in made:
        image = phantom.image.astype(np.float64)
        body = phantom.mask > 0
        ring = ndimage.binary_dilation(body, iterations=2) & ~body
        assert np.median(image[body]) < np.median(image[ring])
        low, high = np.percentile(image[body], [5, 95])
        alike = ((image >= low) & (image <= high) & ~body).sum()
        assert alike > body.sum()  # more such voxels outside than inside


def test_smooth_fields_are_standardised_and_smooth() -> None:
    field = smooth_field((30, 40, 20), 6.0, np.random.default_rng(0))
    assert field.shape == (30, 40, 20)
    assert abs(field.mean()) < 1e-4
    assert field.std() == pytest.approx(1, abs=1e-4)
    assert np.abs(np.diff(field, axis=1)).mean() < 0.3


def test_a_phantom_costs_little(made: list) -> None:
    start = time.process_time()
    for i in range(5):
        make_phantom(i, PLAIN)
    assert (time.process_time() - start) / 5 < 0.5  # 0.1 s on a quiet machine
