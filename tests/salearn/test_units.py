"""Patch units: the grid covers the volume, and what is annotated twice is paid once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.cases import CaseId, UnitId, parse_patch, parse_unit, patch_id, unit_box
from salearn.errors import DataError
from salearn.oracle import CostModel, Oracle
from salearn.units import PatchGrid

FEW = settings(max_examples=25, deadline=None, derandomize=True)
sides = st.tuples(*[st.integers(1, 12)] * 3)


@FEW
@given(sides, sides, st.tuples(*[st.integers(1, 5)] * 3))
def test_patches_of_one_size_cover_every_voxel(
    shape: tuple[int, int, int], size: tuple[int, int, int], step: tuple[int, int, int]
) -> None:
    stride = tuple(min(a, b) for a, b in zip(step, size, strict=True))
    grid = PatchGrid(size=size, stride=(stride[0], stride[1], stride[2]))
    seen = np.zeros(shape, int)
    patches = grid.patches(shape)
    for corner, extent in patches:
        box = unit_box(patch_id(CaseId("a"), corner, extent), axis=1)
        assert seen[box].shape == tuple(min(a, b) for a, b in zip(size, shape, strict=True))
        seen[box] += 1
    assert seen.min() == 1
    assert len(set(patches)) == len(patches)


def test_ids_of_patches_by_hand() -> None:
    unit = patch_id(CaseId("a_1"), (0, 16, 8), (16, 16, 4))
    assert unit == "a_1@000.016.008+16.16.4"
    assert parse_patch(unit) == ((0, 16, 8), (16, 16, 4))
    assert parse_unit(unit) == ("a_1", None)
    assert parse_patch(UnitId("a_1@012")) is None
    assert parse_patch(UnitId("a+1")) is None


def test_the_grid_by_hand() -> None:
    # 10 voxels in patches of 4: they begin at 0, 4 and, so that the last ends with the volume, 6.
    corners = [corner for corner, _ in PatchGrid(size=(4, 4, 4)).patches((10, 4, 3))]
    assert corners == [(0, 0, 0), (4, 0, 0), (6, 0, 0)]


@pytest.mark.parametrize("keys", [{"size": (0, 1, 1)}, {"size": (4, 4, 4), "stride": (4, 5, 4)}])
def test_a_grid_that_leaves_voxels_out_is_refused(keys: dict[str, tuple[int, int, int]]) -> None:
    with pytest.raises(ValueError, match="patches"):
        PatchGrid(**keys)  # type: ignore[arg-type]


def whole_mask() -> np.ndarray:
    """10 x 4 x 4; class 1 in the plane z = 1, class 2 at one voxel."""
    mask = np.zeros((10, 4, 4), np.uint8)
    mask[:, :, 1] = 1
    mask[9, 0, 3] = 2
    return mask


def oracle(folder: Path, **keys: object) -> Oracle:
    cost = CostModel(per_unit=10, per_slice=5, per_voxel=1)
    return Oracle(lambda case: whole_mask(), folder / "q.jsonl", cost, axis=2, **keys)  # type: ignore[arg-type]


def test_voxels_outside_of_annotated_patches_are_ignored_and_overlaps_cost_nothing(
    tmp_path: Path,
) -> None:
    made = oracle(tmp_path)
    first, last = (UnitId(f"a@{x:03d}.000.000+4.4.4") for x in (4, 6))
    made.annotate([first], round=0)
    # 4 x 4 voxels of class 1 in one slice: 10 + 5 + 16 = 31 s
    assert made.spent() == {"cases": 1, "slices": 1, "voxels": 16, "seconds": 31.0}
    made.annotate([last], round=1)
    # x = 8 and 9 are new: 8 voxels of class 1, 1 of class 2, two slices: 10 + 2 * 5 + 9 = 29 s
    assert made.spent()["voxels"] == 16 + 9
    assert made.spent()["seconds"] == 31 + 29
    mask = made.mask(CaseId("a"))
    assert (mask[:4] == 255).all()
    assert np.array_equal(mask[4:], whole_mask()[4:])
    assert np.array_equal(oracle(tmp_path).mask(CaseId("a")), mask)  # from the log alone


def test_a_mask_that_a_person_returned_goes_before_the_file(tmp_path: Path) -> None:
    drawn = np.full((10, 4, 4), 2, np.uint8)
    asked: list[tuple[str, str, str]] = []

    def returned(case: CaseId, file: str, sha256: str) -> np.ndarray:
        asked.append((case, file, sha256))
        return drawn

    made = oracle(tmp_path, returned=returned)
    made.annotate([UnitId("a@001")], round=0)
    made.accept(UnitId("a@002"), 1, {"file": "masks/a.nii.gz", "sha256": "ab", "by": "person"})
    made.accept(UnitId("a@002"), 1, {"file": "masks/other.nii.gz", "sha256": "cd"})  # no effect
    mask = made.mask(CaseId("a"))
    assert np.array_equal(mask[..., 1], whole_mask()[..., 1])
    assert (mask[..., 2] == 2).all()
    assert (mask[..., [0, 3]] == 255).all()
    assert asked == [("a", "masks/a.nii.gz", "ab")]
    assert list(made.annotated(1)) == ["a@002"]
    assert made.spent(until_round=0)["voxels"] == 40
    with pytest.raises(DataError, match=r"masks/a\.nii\.gz was drawn by a person"):
        oracle(tmp_path).mask(CaseId("a"))


def test_voxels_that_a_mask_leaves_open_cost_nothing(tmp_path: Path) -> None:
    partial = whole_mask()
    partial[:5] = 255
    made = Oracle(lambda case: partial, tmp_path / "q.jsonl", CostModel(), axis=2)
    made.annotate([UnitId("a")], round=0)
    assert made.spent()["voxels"] == 5 * 4 + 1
