import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loops.stitch import VOID, Stitcher, StitchSettings
from salearn.cases import IGNORE
from salearn.errors import ConfigError
from salearn.mosaic import unstitch_foreground
from salearn.resize import resize_linear, resize_nearest
from salearn.settings import parse


def layout(shape, canvas, token, axis=2, **values):
    return Stitcher(StitchSettings(**values), axis).layout(shape, canvas, token)


def numbered(shape, channels=2, seed=0):
    return np.random.default_rng(seed).random((channels, *shape), dtype=np.float32)


@given(
    shape=st.tuples(*[st.integers(1, 14)] * 3),
    canvas=st.sampled_from([28, 56]),
    token=st.sampled_from([1, 2, 4, 7]),
    axis=st.integers(0, 2),
    policy=st.sampled_from(["token", "floor", "fixed"]),
    overlap=st.integers(0, 1),
)
@settings(max_examples=150, deadline=None, derandomize=True)
def test_round_trip_is_the_identity_and_every_slice_is_seen(
    shape, canvas, token, axis, policy, overlap
):
    values = {"policy": policy, "overlap": overlap, "fit": "error"}
    if policy == "fixed":
        values["d"] = 1
    try:
        plan = layout(shape, canvas, token, axis, **values)
    except ConfigError:  # capacity 1 has no room for an overlap
        assert overlap == 1
        return
    image = numbered(shape)
    np.testing.assert_allclose(plan.unstitch(plan.stitch(image)), image, rtol=1e-6)
    counts = np.bincount(plan.placements[:, 0], minlength=shape[axis])
    assert counts.min() >= 1
    assert overlap or counts.max() == 1


@given(
    shape=st.tuples(*[st.integers(1, 12)] * 3),
    canvas=st.integers(12, 30),
    axis=st.integers(0, 2),
    policy=st.sampled_from(["token", "floor"]),
)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_void_is_never_labeled_and_mask_lies_as_the_image_does(shape, canvas, axis, policy):
    plan = layout(shape, canvas, 3, axis, policy=policy)
    mask = np.random.default_rng(1).integers(0, 3, shape).astype(np.uint8)
    stitched, void = plan.stitch_mask(mask), plan.void()
    assert (stitched[void] == IGNORE).all()
    assert (stitched[~void] < 3).all()
    assert (~void).sum() == mask.size
    image = plan.stitch(mask[None].astype(np.float32))[:, 0]
    np.testing.assert_array_equal(image[~void], stitched[~void])


def test_void_value_is_the_ignored_class_of_the_losses():
    assert VOID == IGNORE


def test_golden_placements_of_the_left_atrium_on_1008():
    plan = layout((112, 112, 80), 1008, 14)
    assert (plan.rows.pitch, plan.rows.offset, plan.rows.count) == (112, 0, 9)
    assert plan.columns == plan.rows
    assert plan.capacity == 81
    assert plan.mosaics == 1
    assert plan.tiles[0].tolist() == [*range(80), -1]  # one empty tile, the last
    # Slice 10 is tile 10: row 1, column 1.
    assert plan.placements[10].tolist() == [10, 0, 112, 112]
    assert plan.void().mean() == pytest.approx(1 / 81)


def test_golden_placements_of_the_left_atrium_on_1024_as_released():
    plan = layout((112, 112, 80), 1024, 16, policy="floor")
    assert (plan.rows.pitch, plan.rows.offset, plan.rows.count) == (114, -1, 9)
    assert plan.rows.starts()[0] == 0  # rim of 1 pixel, canvas offset -1
    assert plan.rows.starts()[-1] == 8 * 114
    assert plan.void().mean() == pytest.approx(0.043, abs=5e-4)


@pytest.mark.parametrize(
    ("size", "depth", "count", "pitch", "offset", "void"),
    [
        (96, 96, 10, 102, 2, 0.156),
        (128, 64, 8, 128, 0, 0.0),
        (64, 64, 16, 64, 0, 0.75),
    ],
)
def test_released_geometry_of_other_patches(size, depth, count, pitch, offset, void):
    plan = layout((size, size, depth), 1024, 16, policy="floor")
    assert (plan.rows.count, plan.rows.pitch, plan.rows.offset) == (count, pitch, offset)
    assert plan.void().mean() == pytest.approx(void, abs=5e-4)


@pytest.mark.parametrize(("depth", "lost"), [(88, 7), (128, 47)])
def test_slices_that_the_released_code_loses_go_to_a_second_mosaic(depth, lost):
    plan = layout((112, 112, depth), 1024, 16, policy="floor")
    assert plan.mosaics == 2
    assert depth - plan.capacity == lost
    assert sorted(plan.placements[:, 0]) == list(range(depth))


def test_a_grid_that_leaves_a_rim_starts_at_a_token():
    # 96 px = 7 tokens of 14 (98 px); 10 x 98 = 980 leaves 28: one token of rim on each side.
    plan = layout((96, 96, 96), 1008, 14)
    assert (plan.rows.pitch, plan.rows.count, plan.rows.offset) == (98, 10, 14)


def test_paper_policy_takes_the_root_of_the_depth():
    plan = layout((112, 112, 80), 1024, 16, policy="ceil_sqrt")
    assert plan.rows.count == 9  # ceil(sqrt(80))
    assert plan.rows.pitch == 1024 // 9


def test_deep_volumes_are_spread_evenly_with_the_wanted_overlap():
    # 49 tiles, 51 slices, 4 shared: ceil((51-4)/(49-4)) = 2 mosaics, step ceil(47/2) = 24.
    plan = layout((51, 32, 32), 224, 8, axis=0, overlap=4)
    held = [tiles[tiles >= 0].tolist() for tiles in plan.tiles]
    assert held == [list(range(0, 28)), list(range(24, 51))]


def test_overlapping_slices_are_averaged():
    plan = layout((3, 2, 2), 4, 2, axis=0, policy="fixed", d=1, overlap=0)
    assert plan.mosaics == 3
    plan = layout((5, 2, 2), 4, 2, axis=0, overlap=1)  # 4 tiles: slices 0-2 and 2-4
    mosaics = np.stack([np.full((1, 4, 4), 1.0), np.full((1, 4, 4), 3.0)]).astype(np.float32)
    np.testing.assert_allclose(plan.unstitch(mosaics)[0, :, 0, 0], [1, 1, 2, 3, 3])


def test_cropped_surroundings_come_back_as_background():
    plan = layout((40, 30, 3), 64, 8, tile=(32, 32), fit="crop")
    image = numbered((40, 30, 3))
    back = plan.unstitch(plan.stitch(image))
    np.testing.assert_array_equal(back[:, 4:36], image[:, 4:36])  # (40 - 32) / 2 = 4 each side
    assert (back[0, :4] == 1).all()
    assert (back[1, :4] == 0).all()


def test_cropped_surroundings_of_maps_without_a_background_are_empty():
    plan = layout((40, 30, 3), 64, 8, tile=(32, 32), fit="crop")
    volume = unstitch_foreground(plan, np.full((plan.mosaics, 2, 64, 64), 0.7, np.float32))
    assert volume.shape == (2, 40, 30, 3)
    assert (volume[:, :4] == 0).all()  # 40 - 32 = 8 rows were cropped away, four on each side
    assert (volume[:, -4:] == 0).all()
    assert (volume[:, 4:-4] == np.float32(0.7)).all()


def test_larger_slices_are_shrunk_in_shape_and_probabilities_still_sum_to_one():
    plan = layout((64, 32, 5), 64, 8, tile=(32, 32))
    assert (plan.rows.size, plan.columns.size) == (32, 16)  # both halved
    logits = numbered((64, 32, 5), 3)
    probabilities = plan.unstitch(plan.stitch(logits / logits.sum(0)))
    assert probabilities.shape == (3, 64, 32, 5)
    np.testing.assert_allclose(probabilities.sum(0), 1, rtol=1e-5)


def test_single_slices_fill_the_canvas():
    plan = layout((16, 12, 3), 32, 8, policy="single")
    assert (plan.mosaics, plan.rows.size, plan.columns.size) == (3, 32, 24)
    smooth = np.linspace(0, 1, 16, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, 12, 3))
    back = plan.unstitch(plan.stitch(smooth.astype(np.float32)))
    assert np.abs(back - smooth).max() < 0.03


def test_volumes_of_different_size_share_the_grid_of_a_fixed_tile():
    plans = [layout((32, s, 30), 224, 8, axis=1, tile=(32, 32)) for s in (40, 48)]
    assert plans[0].rows.pitch == plans[1].rows.pitch == 32
    assert layout((30, 40, 30), 224, 8, axis=1, tile=(32, 32)).columns.starts()[0] == 1


@pytest.mark.parametrize(
    ("values", "word"),
    [({"policy": "fixed"}, "d"), ({"d": 3}, "d"), ({"tile": (0, 4)}, "tile")],
)
def test_settings_that_contradict_are_refused(values, word):
    with pytest.raises(ConfigError, match=f"stitch.{word}"):
        parse(StitchSettings, values, "stitch")


def test_a_slice_without_room_is_refused_when_fit_is_error():
    with pytest.raises(ConfigError, match=r"stitch\.fit"):
        layout((40, 40, 3), 32, 8, fit="error")


def test_an_overlap_without_room_is_refused():
    with pytest.raises(ConfigError, match=r"stitch\.overlap"):
        layout((8, 8, 30), 16, 8, overlap=4)


def test_a_volume_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="layout is for"):
        layout((8, 8, 3), 16, 8).stitch(numbered((8, 8, 4)))


def test_resizing_equals_an_independent_implementation():
    import torch
    from torch.nn import functional

    image = numbered((3, 17, 23), 1)
    for size in [(9, 11), (30, 40), (17, 5)]:
        expected = functional.interpolate(
            torch.from_numpy(image[0])[None], size, mode="bilinear", antialias=True
        )
        np.testing.assert_allclose(resize_linear(image[0], size), expected[0], atol=1e-5)
        nearest = functional.interpolate(
            torch.from_numpy(image[0])[None], size, mode="nearest-exact"
        )
        np.testing.assert_array_equal(resize_nearest(image[0], size), nearest[0])
