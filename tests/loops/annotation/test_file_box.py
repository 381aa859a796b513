"""Where a unit lies in the file that a person opens, for every order and direction of axes."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from loops.annotation.worklist import file_box
from salearn.cases import CaseId, UnitId, patch_id, unit_box, unit_id
from salearn.data.nifti import geometry_from_ras

SHAPE = (5, 7, 9)
FEW = settings(max_examples=30, deadline=None, derandomize=True)


def codes() -> st.SearchStrategy[str]:
    letters = st.permutations(["RL", "AP", "SI"])
    flips = st.tuples(*[st.integers(0, 1)] * 3)
    return st.tuples(letters, flips).map(
        lambda drawn: "".join(pair[flip] for pair, flip in zip(*drawn, strict=True))
    )


@FEW
@given(codes(), st.integers(0, 2), st.booleans())
def test_first_and_last_voxel_are_those_of_the_file(axes: str, axis: int, patch: bool) -> None:
    import nibabel as nib

    unit: UnitId = unit_id(CaseId("a"), 2)
    if patch:
        unit = patch_id(CaseId("a"), (1, 2, 3), (2, 4, 5))
    region = np.zeros(SHAPE, np.uint8)
    region[unit_box(unit, axis)] = 1
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    geometry = geometry_from_ras(SHAPE, affine, axes)
    # the second way: turn the region to the file's axes and look where it is
    back = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), geometry.to_ras)
    place = np.argwhere(nib.orientations.apply_orientation(region, back))
    first, last = file_box(unit, SHAPE, geometry, axis)
    assert geometry.orientation == axes
    assert (first, last) == (place.min(axis=0).tolist(), place.max(axis=0).tolist())
