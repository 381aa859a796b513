import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.metrics.surface import surface_distances
from salearn.metrics.surfel import (
    cell_codes,
    element_sizes,
    surfel_distances,
    weighted_percentile,
)

ISO = (1.0, 1.0, 1.0)
THICK = (3.0, 1.0, 1.0)
ODD = (0.7, 1.3, 2.1)
CORNERS = list(itertools.product((0, 1), repeat=3))


def block(*bounds, shape=(40, 20, 20)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(low, high) for low, high in bounds)] = True
    return mask


def code_of(*corners):
    return sum(1 << CORNERS.index(corner) for corner in corners)


def area(mask, spacing):
    return element_sizes(spacing)[cell_codes(mask)].sum()


CUBE = block((2, 8), (2, 8), (2, 8))
CORE = block((4, 6), (4, 6), (4, 6))
TEN = block((2, 12), (5, 15), (5, 15))
KNOWN = {  # pair, spacing, HD95 by area
    "cube shifted by one slice": ((CUBE, np.roll(CUBE, 1, 0)), THICK, 3.0),
    "core of a cube": ((CORE, CUBE), ISO, 3.0),
    "core of a cube, 3 mm slices": ((CORE, CUBE), THICK, 6.4031),
    "rod on a face": ((TEN, TEN | block((12, 21), (9, 11), (9, 11))), ISO, 5.0),
    "plate far away": ((TEN, TEN | block((27, 29), (8, 12), (8, 12))), ISO, 16.0),
}


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_hd95_by_area_agrees_with_the_known_answers(name, swap):
    pair, spacing, expected = KNOWN[name]
    found = surfel_distances(*(pair[::-1] if swap else pair), spacing)
    assert found.hausdorff() == pytest.approx(expected, abs=1e-4)


def test_the_area_of_an_element_by_hand():
    x, y, z = ODD
    sizes = element_sizes(ODD)
    assert sizes[code_of()] == sizes[255] == 0
    assert sizes[code_of((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1))] == pytest.approx(y * z)
    # two along x: a strip of length x, as wide as from the middle of one side to that of the next
    edge = sizes[code_of((0, 0, 0), (1, 0, 0))]
    assert edge == pytest.approx(x * math.hypot(y / 2, z / 2))
    # one corner: half the cross product of (-x, y, 0) / 2 and (-x, 0, z) / 2
    corner = math.hypot(y * z, x * z, x * y) / 8
    assert sizes[code_of((1, 0, 1))] == pytest.approx(corner)
    assert sizes[code_of((0, 0, 0), (1, 1, 1))] == pytest.approx(2 * corner)
    assert sizes[code_of((0, 0, 0), (1, 1, 0))] == pytest.approx(2 * corner)  # kept apart


def test_loops_that_are_not_flat_have_the_areas_of_the_source():
    sizes, third = element_sizes(ISO), math.sqrt(3)
    bend = code_of((0, 0, 0), (0, 1, 0), (0, 0, 1))  # half a square and two equal-sided triangles
    assert sizes[bend] == pytest.approx(1 / 2 + third / 4 + third / 8)
    twist = code_of((0, 1, 0), (0, 0, 0), (0, 0, 1), (1, 0, 1))
    assert sizes[twist] == pytest.approx(3 * third / 8 + third / 8 + 2 * math.sqrt(2) / 4)


TOTALS = {ISO: 241.34313970553745, THICK: 597.6913531255966, ODD: 439.6977386951819}


@pytest.mark.parametrize("spacing", TOTALS)
def test_all_256_areas_together_are_those_of_the_source(spacing):
    assert element_sizes(spacing).sum() == pytest.approx(TOTALS[spacing], rel=1e-12)


@pytest.mark.parametrize("spacing", [ISO, THICK, ODD])
def test_inside_and_outside_have_the_same_surface(spacing):
    sizes = element_sizes(spacing)
    np.testing.assert_allclose(sizes, sizes[::-1])
    assert (sizes[1:-1] > 0).all()


@given(
    code=st.integers(1, 254),
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_areas_turn_and_mirror_with_the_image(code, order, flips):
    cell = np.array([code >> bit & 1 for bit in range(8)]).reshape(2, 2, 2)
    turned = np.flip(cell.transpose(order), [axis for axis in range(3) if flips[axis]])
    other = int((turned.ravel() << np.arange(8)).sum())
    spacing = tuple(ODD[axis] for axis in order)
    assert element_sizes(spacing)[other] == pytest.approx(element_sizes(ODD)[code])


def test_the_area_of_a_box_by_hand():
    mask, (x, y, z) = block((0, 4), (3, 8), (5, 11), shape=(4, 12, 12)), ODD  # 4 x 5 x 6, at a rim
    a, b, c = 3 * x, 4 * y, 5 * z
    faces = 2 * (a * b + b * c + a * c)
    edges = 4 * (a * math.hypot(y, z) + b * math.hypot(x, z) + c * math.hypot(x, y)) / 2
    corners = 8 * math.hypot(y * z, x * z, x * y) / 8
    assert area(mask, ODD) == pytest.approx(faces + edges + corners)


def test_a_slanted_plane_has_its_true_area():
    x, y, z = np.indices((12, 12, 12))
    codes = cell_codes(x + y + z < 15)[1:-1, 1:-1, 1:-1]  # x + y + z = 14.5 within 11 cells a side
    # in units of cells, from the first voxel: a hexagon; the triangle t < 14.5 less three corners
    side = (14.5**2 - 3 * (14.5 - 11) ** 2) / 2  # its shadow on the plane x, y
    assert element_sizes(ISO)[codes].sum() == pytest.approx(side * math.sqrt(3))


def test_an_axis_of_extent_1_makes_a_contour():
    square = np.zeros((9, 9, 1), dtype=bool)
    square[2:7, 2:7] = True
    moved = np.roll(square, 1, axis=0)
    found = surfel_distances(square, moved, (2.0, 3.0, 5.0))
    corners, sides = 4 * math.hypot(2, 3) / 2, 2 * 4 * (2 + 3)
    assert found.prediction_sizes.sum() == pytest.approx(corners + sides)
    assert found.hausdorff() == 2.0
    apart = np.zeros((4, 4, 1), dtype=bool)
    apart[1, 1] = apart[2, 2] = True  # two squares that meet at a point: a code cut in two ways
    found = surfel_distances(apart, apart, (2.0, 3.0, 5.0))
    assert found.prediction_sizes.sum() == pytest.approx(8 * math.hypot(2, 3) / 2)


def test_a_percentile_by_weight_by_hand():
    values, weights = np.array([4.0, 1.0, 2.0]), np.array([1.0, 6.0, 3.0])  # shares .6 .9 1
    shares = {0: 1.0, 60: 1.0, 60.1: 2.0, 90: 2.0, 95: 4.0, 100: 4.0}
    for percentile, expected in shares.items():
        assert weighted_percentile(values, weights, percentile) == expected


@given(seed=st.integers(0, 1000), density=st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_distances_agree_with_brute_force(seed, density):
    pair = np.random.default_rng(seed).random((2, 4, 5, 3)) < density
    pair[:, 1, 1, 1] = True
    found = surfel_distances(*pair, ODD)
    places, sizes = [], []
    for mask in pair:
        padded = np.pad(mask, 1)
        cells = np.lib.stride_tricks.sliding_window_view(padded, (2, 2, 2)).reshape(5, 6, 4, 8)
        mixed = cells.any(axis=-1) & ~cells.all(axis=-1)
        places.append(np.argwhere(mixed) * ODD)
        sizes.append(element_sizes(ODD)[(cells[mixed] << np.arange(8)).sum(axis=-1)])
    apart = np.linalg.norm(places[0][:, None] - places[1][None], axis=-1)
    there, back = apart.min(axis=1), apart.min(axis=0)
    np.testing.assert_allclose(found.from_prediction, there, atol=1e-9)
    np.testing.assert_allclose(found.from_reference, back, atol=1e-9)
    near = sizes[0][there <= 1].sum() + sizes[1][back <= 1].sum()
    assert found.nsd(1.0) == pytest.approx(near / (sizes[0].sum() + sizes[1].sum()))
    assert found.hausdorff(100.0) == pytest.approx(max(there.max(), back.max()))


def test_the_variants_of_hd95_differ_where_an_error_is_local():
    rod = KNOWN["rod on a face"][0]
    voxels = surface_distances(*rod, ISO)
    assert voxels.hausdorff_pooled() == 0
    assert voxels.hausdorff() == 3
    assert surfel_distances(*rod, ISO).hausdorff() == 5


def test_an_empty_mask_has_no_surface():
    with pytest.raises(ValueError, match="not empty"):
        surfel_distances(CUBE, np.zeros_like(CUBE), ISO)
    full = np.ones((3, 3, 3), dtype=bool)  # all of the image: its surface is the rim
    assert surfel_distances(full, full, ISO).hausdorff(100.0) == 0
