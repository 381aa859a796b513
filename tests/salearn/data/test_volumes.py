from __future__ import annotations

import gzip
from collections.abc import Callable
from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from salearn.cases import Case, CaseId
from salearn.data.nifti import geometry_from_ras, write_image
from salearn.data.volumes import read_mask, read_volume, write_labels
from salearn.errors import DataError

AXES = [
    "".join(pair[flip] for pair, flip in zip(order, flips, strict=True))
    for order in permutations(("RL", "AP", "SI"))
    for flips in product((0, 1), repeat=3)
]
RNG = np.random.default_rng(0)
MASK = RNG.choice([0, 3, 7], (3, 4, 5)).astype(np.uint8)  # asymmetric in shape and content


def case_of(*paths: Path) -> Case:
    return Case(id=CaseId("c"), images=paths)


@settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    spacing=st.tuples(*[st.floats(0.3, 5.0)] * 3),
    tilt=st.floats(-0.3, 0.3),
    origin=st.tuples(*[st.floats(-200, 200)] * 3),
)
@pytest.mark.slow
def test_labels_go_back_bit_for_bit_on_all_48_orientations(
    tmp_path: Path,
    spacing: tuple[float, float, float],
    tilt: float,
    origin: tuple[float, float, float],
) -> None:
    affine = np.eye(4)
    cos, sin = np.cos(tilt), np.sin(tilt)
    affine[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag(spacing)
    affine[:3, 3] = origin
    assert len(set(AXES)) == 48
    for axes in AXES:
        grid = geometry_from_ras((3, 4, 5), affine, axes)
        assert grid.orientation == axes
        image, mask, back = (tmp_path / f"{n}.nii.gz" for n in ("i", "m", "b"))
        write_image(image, np.arange(60, dtype=np.float32).reshape(grid.shape), grid.affine)
        write_image(mask, MASK.reshape(grid.shape), grid.affine)
        volume = read_volume(case_of(image))
        labels = read_mask(mask, "c", (3, 7), volume)
        assert volume.image.shape == (1, 3, 4, 5) == (1, *labels.shape)
        np.testing.assert_allclose(volume.spacing, spacing, rtol=1e-5)
        np.testing.assert_allclose(volume.affine, affine, atol=1e-4)
        write_labels(back, labels, volume.source, (3, 7))
        first, second = nib.load(mask), nib.load(back)
        np.testing.assert_array_equal(np.asarray(second.dataobj), np.asarray(first.dataobj))
        np.testing.assert_array_equal(second.affine, first.affine)


def test_reorientation_moves_each_voxel_to_its_place_in_the_world(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    array = RNG.normal(size=(3, 4, 5)).astype(np.float32)
    grid = geometry_from_ras((5, 3, 4), np.diag([2.0, 1.0, 3.0, 1.0]), "ASL")
    assert grid.shape == (3, 4, 5)
    volume = read_volume(case_of(save(tmp_path / "i.nii", array, grid.affine)))
    for index in ((0, 0, 0), (2, 1, 4), (1, 3, 2)):
        world = grid.affine @ [*index, 1]
        x, y, z = np.rint(np.linalg.inv(volume.affine) @ world)[:3].astype(int)
        assert volume.image[0, x, y, z] == array[index]


def test_reading_agrees_with_nibabel_closest_canonical(tmp_path: Path) -> None:
    grid = geometry_from_ras((3, 4, 5), np.diag([1.0, 1.0, 2.0, 1.0]), "PIR")
    write_image(tmp_path / "i.nii", RNG.normal(size=grid.shape).astype(np.float32), grid.affine)
    canonical = nib.as_closest_canonical(nib.load(tmp_path / "i.nii"))
    volume = read_volume(case_of(tmp_path / "i.nii"))
    np.testing.assert_array_equal(volume.image[0], canonical.get_fdata())
    np.testing.assert_array_equal(volume.affine, canonical.affine)


def test_a_file_with_only_a_qform_keeps_it_bit_for_bit(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
    turned = np.eye(4)
    turned[:3, :3] = [[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1.3]]
    image.header.set_qform(turned, code=1)
    image.header.set_sform(None, code=0)
    nib.save(image, tmp_path / "i.nii.gz")
    volume = read_volume(case_of(tmp_path / "i.nii.gz"))
    write_labels(tmp_path / "o.nii.gz", np.ones((3, 4, 5), np.uint8), volume.source, (1,))
    first, second = (nib.load(tmp_path / f"{n}.nii.gz") for n in "io")
    np.testing.assert_array_equal(first.affine, second.affine)
    assert int(second.header["qform_code"]) == 1
    assert int(second.header["sform_code"]) == 0


def test_the_last_axis_of_a_4d_file_and_several_files_become_channels(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    array = RNG.normal(size=(3, 4, 5, 2)).astype(np.float32)
    one = read_volume(case_of(save(tmp_path / "i.nii", array)))
    files = [save(tmp_path / f"{c}.nii", array[..., c]) for c in range(2)]
    np.testing.assert_array_equal(one.image, np.moveaxis(array, 3, 0))
    np.testing.assert_array_equal(read_volume(case_of(*files)).image, one.image)
    other = save(tmp_path / "far.nii", array[..., 0], np.diag([1, 1, 2, 1.0]))
    with pytest.raises(DataError, match="first channel"):
        read_volume(case_of(files[0], other))


def test_broken_and_non_finite_images_name_file_and_case(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    array = np.zeros((3, 4, 5), np.float32)
    array[0, 0, 0], array[1, 1, 1] = np.nan, np.inf
    bad = save(tmp_path / "nan.nii.gz", array)
    with pytest.raises(DataError, match=r"case c.*nan\.nii\.gz: 2 voxels are NaN or infinite"):
        read_volume(case_of(bad))
    whole = save(tmp_path / "cut.nii.gz", RNG.normal(size=(9, 9, 9))).read_bytes()
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nii.gz").write_bytes(b"hello")
    (tmp_path / "zip.nii.gz").write_bytes(gzip.compress(b"hello"))
    flat = save(tmp_path / "flat.nii", np.zeros((3, 4), np.float32))
    empty = save(tmp_path / "c.nii", np.zeros((3, 4, 5), np.complex64))
    broken = [tmp_path / f"{name}.nii.gz" for name in ("cut", "text", "zip", "missing")]
    for path in (*broken, flat, empty):
        with pytest.raises(DataError, match=f"case c, file .*{path.name}: .*; "):
            read_volume(case_of(path))


def test_an_affine_that_cannot_be_inverted_is_refused(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
    image.header.set_sform(np.diag([1, 1, 0, 1.0]), code=1)
    nib.save(image, tmp_path / "i.nii")
    with pytest.raises(DataError, match="affine is singular"):
        read_volume(case_of(tmp_path / "i.nii"))


def test_scaled_integers_are_read_in_real_units(tmp_path: Path) -> None:
    image = nib.Nifti1Image(np.array([[[0, 1, 2]]], np.int16), np.eye(4))
    image.header.set_slope_inter(2.0, -1000.0)
    nib.save(image, tmp_path / "ct.nii")
    found = read_volume(case_of(tmp_path / "ct.nii")).image
    np.testing.assert_array_equal(found, [[[[-1000, -998, -996]]]])  # value * 2 - 1000


def test_a_mask_may_lie_on_other_axes_of_the_same_grid(tmp_path: Path) -> None:
    image = geometry_from_ras((3, 4, 5), np.eye(4), "LPS")
    mask = geometry_from_ras((3, 4, 5), np.eye(4), "RAS")
    write_image(tmp_path / "m.nii", MASK, mask.affine)
    found = read_mask(tmp_path / "m.nii", "c", (3, 7), image)
    np.testing.assert_array_equal(found, (MASK == 3) + 2 * (MASK == 7))


def test_float_masks_with_whole_numbers_and_an_ignore_value_are_read(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    array = np.array([[[0.0, 7.0, 3.0, 9.0]]], np.float32)
    grid = geometry_from_ras((1, 1, 4), np.eye(4), "RAS")
    path = save(tmp_path / "m.nii", array)
    np.testing.assert_array_equal(read_mask(path, "c", (7, 3), grid, ignore=9), [[[0, 1, 2, 255]]])


@pytest.mark.parametrize(
    ("array", "affine", "words"),
    [
        (np.full((3, 4, 5), 5, np.uint8), np.eye(4), "unknown label values 5; declared"),
        (np.full((3, 4, 5), 0.5, np.float32), np.eye(4), r"values 0\.5"),
        (np.full((3, 4, 5), np.nan, np.float32), np.eye(4), "values nan"),
        (np.zeros((3, 5, 4), np.uint8), np.eye(4), r"\(3, 5, 4\).*differs from \(3, 4, 5\)"),
        (np.zeros((3, 4, 5), np.uint8), np.diag([1, 1, 1.01, 1]), r"up to 0\.01 mm"),
        (np.zeros((3, 4, 5, 2), np.uint8), np.eye(4), "2 channels"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(
    tmp_path: Path, save: Callable[..., Path], array: np.ndarray, affine: np.ndarray, words: str
) -> None:
    grid = geometry_from_ras((3, 4, 5), np.eye(4), "RAS")
    path = save(tmp_path / "m.nii.gz", array, affine)
    with pytest.raises(DataError, match=rf"case c, file .*m\.nii\.gz.*{words}"):
        read_mask(path, "c", (1, 2), grid)


def test_the_affine_tolerance_is_a_thousandth_of_the_spacing(
    tmp_path: Path, save: Callable[..., Path]
) -> None:
    grid = geometry_from_ras((3, 4, 5), np.diag([2, 2, 2, 1.0]), "RAS")
    for shift, fits in ((0.0019, True), (0.0021, False)):  # 1e-3 * 2 mm
        affine = np.diag([2, 2, 2, 1.0])
        affine[0, 3] = shift
        path = save(tmp_path / "m.nii", np.zeros((3, 4, 5), np.uint8), affine)
        if fits:
            read_mask(path, "c", (1,), grid)
        else:
            with pytest.raises(DataError, match="affine"):
                read_mask(path, "c", (1,), grid)


def test_labels_are_written_with_their_values_and_wrong_ones_are_refused(tmp_path: Path) -> None:
    grid = geometry_from_ras((1, 1, 4), np.eye(4), "RAS")
    path = tmp_path / "new/o.nii.gz"
    write_labels(path, np.array([[[0, 1, 2, 255]]], np.uint8), grid, (300, -1))
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), [[[0, 300, -1, 255]]])
    assert [p.name for p in path.parent.iterdir()] == ["o.nii.gz"]
    with pytest.raises(ValueError, match="do not fit the values"):
        write_labels(path, np.full((1, 1, 4), 3, np.uint8), grid, (1, 2))
    with pytest.raises(ValueError, match="does not fit the grid"):
        write_labels(path, np.zeros((1, 2, 4), np.uint8), grid, (1, 2))
    with pytest.raises(ValueError, match=r"\.nii"):
        write_labels(tmp_path / "o.png", np.zeros((1, 1, 4), np.uint8), grid, (1, 2))
