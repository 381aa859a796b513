import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_erosion, generate_binary_structure

from salearn.metrics import nearest
from salearn.metrics.surface import (
    SurfaceSettings,
    border,
    box_of,
    surface_distances,
    surface_scores,
)

ISO = (1.0, 1.0, 1.0)
THICK = (3.0, 1.0, 1.0)


def block(*bounds, shape=(40, 20, 20)):
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(low, high) for low, high in bounds)] = True
    return mask


CUBE = block((2, 8), (2, 8), (2, 8))
CORE = block((4, 6), (4, 6), (4, 6))
TEN = block((2, 12), (5, 15), (5, 15))
KNOWN = {  # pair, spacing, Hausdorff, max-directed 95th, pooled 95th, pooled ASSD
    "single voxels, 3 mm slices": (
        (block((2, 3), (2, 3), (2, 3)), block((4, 5), (5, 6), (6, 7))),
        THICK,
        (7.8102, 7.8102, 7.8102, 7.8102),
    ),
    "single voxels": (
        (block((2, 3), (2, 3), (2, 3)), block((4, 5), (5, 6), (6, 7))),
        ISO,
        (5.3852, 5.3852, 5.3852, 5.3852),
    ),
    "cube shifted by one slice": ((CUBE, np.roll(CUBE, 1, 0)), THICK, (3, 3, 3, 0.8421)),
    "core of a cube": ((CORE, CUBE), ISO, (3.4641, 3.2088, 3.0232, 2.4857)),
    "core of a cube, 3 mm slices": ((CORE, CUBE), THICK, (6.6332, 6.5067, 6.4146, 4.4268)),
    "rod on a face": ((TEN, TEN | block((12, 21), (9, 11), (9, 11))), ISO, (9, 3, 0, 0.1825)),
    "plate far away": ((TEN, TEN | block((27, 29), (8, 12), (8, 12))), ISO, (17, 16, 0, 0.5238)),
}


@pytest.mark.parametrize("limit", [0, 10**9], ids=["transform", "tree"])
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("name", KNOWN)
def test_distances_agree_with_the_known_answers(name, swap, limit):
    pair, spacing, expected = KNOWN[name]
    found = surface_distances(*(pair[::-1] if swap else pair), spacing, limit)
    got = (found.hausdorff(100.0), found.hausdorff(), found.hausdorff_pooled(), found.assd)
    assert got == pytest.approx(expected, abs=1e-4)


def test_directed_distances_by_hand():
    # along x: prediction at 2; reference at 2 and 7 -> to reference 0; back 0 and 5
    prediction = block((2, 3), (5, 6), (5, 6))
    reference = prediction | block((7, 8), (5, 6), (5, 6))
    found = surface_distances(prediction, reference, (2.0, 1.0, 1.0))
    assert found.asd == (0.0, 5.0)  # (0 + 10 mm) / 2
    assert found.assd == pytest.approx(10 / 3)
    assert found.nsd(9.9) == pytest.approx(2 / 3)
    assert found.nsd(10.0) == 1.0


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy.*:FutureWarning")
def test_maxdirected_hd95_and_assd_agree_with_monai():
    import torch
    from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

    rng = np.random.default_rng(3)
    for density, spacing in [(0.02, ISO), (0.3, THICK), (0.6, (0.7, 1.3, 2.1))]:
        pair = rng.random((2, 12, 14, 10)) < density
        ours = surface_distances(pair[0], pair[1], spacing)
        tensors = [torch.from_numpy(mask[None, None].astype(np.float32)) for mask in pair]
        options = {"include_background": True, "spacing": list(spacing)}
        theirs = compute_hausdorff_distance(*tensors, percentile=95, **options)
        assert ours.hausdorff() == pytest.approx(theirs.item(), abs=1e-4)
        mean = compute_average_surface_distance(*tensors, symmetric=True, **options)
        assert ours.assd == pytest.approx(mean.item(), abs=1e-4)


MASKS = hnp.arrays(bool, st.tuples(*[st.integers(2, 6)] * 3))


@given(mask=MASKS)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_the_border_is_what_erosion_takes_away(mask):
    eroded = binary_erosion(mask, generate_binary_structure(3, 1), border_value=0)
    np.testing.assert_array_equal(border(mask), mask & ~eroded)


@given(seed=st.integers(0, 1000), density=st.floats(0.05, 0.9))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_tree_and_transform_give_the_same_distances(seed, density):
    pair = np.random.default_rng(seed).random((2, 7, 8, 6)) < density
    pair[:, 3, 3, 3] = True
    spacing = (0.8, 1.5, 3.0)
    tree, transform = (surface_distances(pair[0], pair[1], spacing, n) for n in (10**9, 0))
    np.testing.assert_allclose(tree.from_prediction, transform.from_prediction, atol=1e-9)
    np.testing.assert_allclose(tree.from_reference, transform.from_reference, atol=1e-9)


def test_a_single_slice_is_a_2d_image_and_has_an_inside():
    mask = np.zeros((7, 7, 1), dtype=bool)
    mask[1:6, 1:6] = True
    assert border(mask).sum() == 16  # 25 - 3 x 3


def test_a_flat_mask_in_a_volume_is_all_surface_even_when_cropped():
    mask = np.zeros((7, 7, 5), dtype=bool)
    mask[1:6, 1:6, 2] = True
    found = surface_distances(mask, mask, ISO)
    assert len(found.from_prediction) == 25


def test_the_box_has_a_margin_where_the_image_has_room():
    mask = np.zeros((5, 6, 1), dtype=bool)
    mask[0, 3, 0] = True
    assert box_of(mask) == (slice(0, 2), slice(2, 5), slice(0, 1))
    assert mask[box_of(np.zeros_like(mask))].size == 0


@pytest.mark.parametrize(("policy", "far"), [("diag", 12.5), ("inf", math.inf), ("nan", math.nan)])
def test_one_empty_mask_is_never_the_best_distance(policy, far):
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    for pair in [(empty, full), (full, empty)]:
        scores = surface_scores(*pair, ISO, 12.5, SurfaceSettings(empty=policy))
        expected = {"hd95_mm": far, "hd95_pooled_mm": far, "assd_mm": far, "nsd": 0.0}
        np.testing.assert_equal(scores, expected)


ASKED = {
    "directed": ("asd_mm", "asd_back_mm"),
    "surfel": ("hd95_surfel_mm", "nsd_surfel"),
    "parity": ("hd95_voxel", "asd_voxel"),
}
EVERYTHING = SurfaceSettings(directed=True, surfel=True, parity=True)


@pytest.mark.parametrize("name", ASKED)
def test_scores_gain_columns_only_when_asked(name):
    pair = block((2, 8), (2, 8), (2, 8)), block((3, 9), (2, 8), (2, 8))
    plain = surface_scores(*pair, THICK, 9.0, SurfaceSettings())
    assert tuple(plain) == SurfaceSettings().columns
    how = SurfaceSettings(**{name: True})
    scores = surface_scores(*pair, THICK, 9.0, how)
    assert tuple(scores) == how.columns == (*plain, *ASKED[name])
    assert {key: scores[key] for key in plain} == plain


def test_directed_and_voxel_scores_by_hand():
    # along x (2 mm): prediction at 2 and 7, reference at 2; the far voxel is 5 voxels away
    reference = block((2, 3), (5, 6), (5, 6))
    prediction = reference | block((7, 8), (5, 6), (5, 6))
    scores = surface_scores(prediction, reference, (2.0, 1.0, 1.0), 99.0, EVERYTHING)
    assert (scores["asd_mm"], scores["asd_back_mm"]) == (5.0, 0.0)  # (0 + 10 mm) / 2
    assert scores["asd_voxel"] == 2.5  # (0 + 5) / 2
    # pooled 0, 0, 5: the 95th percentile lies 0.9 of the way from 0 to 5; max-directed: 10 mm * .95
    assert scores["hd95_voxel"] == pytest.approx(4.5)
    assert scores["hd95_mm"] == pytest.approx(9.5)
    assert scores["hd95_surfel_mm"] == 10.0  # half of the area of the prediction is 10 mm away
    assert scores["nsd_surfel"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("spacing", [ISO, THICK])
def test_voxel_scores_do_not_know_the_spacing(spacing):
    pair = np.random.default_rng(1).random((2, 8, 9, 7)) < 0.2
    scores = surface_scores(*pair, spacing, 99.0, EVERYTHING)
    voxels = surface_distances(*pair, ISO)
    assert scores["hd95_voxel"] == voxels.hausdorff_pooled()
    assert scores["asd_voxel"] == voxels.asd[0]


@pytest.mark.parametrize("policy", ["diag", "inf", "nan"])
def test_the_policy_for_empty_masks_holds_for_every_column(policy):
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    how = SurfaceSettings(empty=policy, directed=True, surfel=True, parity=True)
    scores = surface_scores(empty, full, THICK, 12.5, how, 5.2)
    fixed = {"inf": math.inf, "nan": math.nan}
    for name, value in scores.items():
        far = fixed.get(policy, 5.2 if name.endswith("voxel") else 12.5)
        np.testing.assert_equal(value, 0.0 if name.startswith("nsd") else far)


def test_two_empty_masks_have_no_distance():
    empty = np.zeros((3, 3, 3), dtype=bool)
    scores = surface_scores(empty, empty, ISO, 12.5, EVERYTHING)
    assert tuple(scores) == EVERYTHING.columns
    assert all(math.isnan(value) for value in scores.values())
    with pytest.raises(ValueError, match="not empty"):
        surface_distances(empty, empty, ISO)


def ball(shape, centre, radii):
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    return sum(((g - c) / r) ** 2 for g, c, r in zip(grids, centre, radii, strict=True)) < 1


SHAPE = (60, 50, 36)
BODY = ball(SHAPE, (30, 25, 18), (20, 15, 10))
NOISE = np.random.default_rng(0).random(SHAPE) < 0.3
WIDE = (120, 110, 60)
HARD = {  # pair -> whether each direction uses a transform
    "ordinary": ((np.roll(BODY, 1, 0), BODY), (False, False)),
    "noise": ((NOISE, BODY), (True, False)),
    "full": ((np.ones(SHAPE, dtype=bool), BODY), (True, True)),
    "distant": (
        (ball(WIDE, (25, 25, 15), (20, 18, 12)), ball(WIDE, (95, 85, 45), (20, 18, 12))),
        (False, False),
    ),
}


@pytest.mark.parametrize("name", HARD)
def test_each_direction_takes_the_cheaper_way_to_the_same_distances(name, monkeypatch):
    pair, transformed = HARD[name]
    spacing, taken = (0.8, 0.8, 1.5), []
    by_transform = nearest._by_transform
    monkeypatch.setattr(nearest, "_by_transform", lambda *a: taken.append(a) or by_transform(*a))
    found = surface_distances(*pair, spacing)
    assert len(taken) == sum(transformed)
    for limit in (0, 10**9):
        other = surface_distances(*pair, spacing, limit)
        np.testing.assert_allclose(found.from_prediction, other.from_prediction, atol=1e-9)
        np.testing.assert_allclose(found.from_reference, other.from_reference, atol=1e-9)
    again = surface_distances(*pair, spacing)
    np.testing.assert_array_equal(again.pooled, found.pooled)


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), (0.8, 0.8, 0.8), (0.7, 0.7, 3.0), (2.0, 1.1, 1.3)]
)
def test_points_beside_the_other_mask_have_the_distance_of_a_full_search(spacing):
    rng = np.random.default_rng(0)
    start, goal = rng.random((2, 9, 8, 7)) < 0.1
    a, b = np.argwhere(start) * spacing, np.argwhere(goal) * spacing
    want = np.sqrt(((a[:, None] - b[None]) ** 2).sum(axis=2)).min(axis=1)
    np.testing.assert_array_equal(nearest.directed(start, goal, spacing, by_tree=True), want)
