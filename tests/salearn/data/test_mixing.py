import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import distance_transform_edt

from salearn.data.mixing import (
    cut,
    cycled,
    half_of_cubes,
    join,
    partner,
    share_box,
    volume_box,
)
from salearn.data.regions import largest_components, signed_distance


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(n=st.integers(1, 3), sides=st.tuples(*[st.integers(1, 3)] * 3), seed=st.integers(0, 99))
def test_joining_what_was_cut_is_the_identity(n, sides, seed):
    volume = torch.rand(2, 3, *(n * side for side in sides), generator=_generator(seed))
    cubes = cut(volume, n)
    assert cubes.shape == (2 * n**3, 3, *sides)
    assert torch.equal(join(cubes, n), volume)
    assert torch.equal(cubes[0], volume[0, :, : sides[0], : sides[1], : sides[2]])


def test_a_share_box_has_two_thirds_of_each_side_anywhere():
    boxes = [share_box((12, 9, 6), 2 / 3, _generator(seed)) for seed in range(20)]
    assert {int(b.sum()) for b in boxes} == {8 * 6 * 4}
    assert len({tuple(b.nonzero()[0].tolist()) for b in boxes}) > 10


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 999))
def test_a_volume_box_stays_near_its_share(seed):
    inside = volume_box((20, 30, 20), 0.1, 0.3, 1.8, _generator(seed))
    assert 0.05 < inside.mean() < 0.35


def test_half_of_the_cubes_are_chosen_and_whole():
    chosen = half_of_cubes((4, 6, 2), 2, 5, _generator())
    cubes = cut(chosen.unsqueeze(1), 2).flatten(1)
    assert torch.equal(cubes.amin(1), cubes.amax(1))
    assert cubes.amax(1).reshape(5, 8).sum(1).tolist() == [4] * 5


def test_partners_and_cycles():
    batch = torch.arange(3)
    assert partner(batch).tolist() == [2, 0, 1]
    assert cycled(batch, 5).tolist() == [0, 1, 2, 0, 1]
    assert partner(batch[:1]).tolist() == [0]


def test_signed_distance_of_a_bar_by_hand():
    # outside 3 2 1 (of 3), inside the bar of 5 from its border: 1 2 3 2 1 -> scaled 1/3 2/3 1
    line = torch.tensor([0, 0, 0, 1, 1, 1, 1, 1, 0, 0, 0])
    mask = line.view(1, -1, 1, 1)
    found = signed_distance(mask, 2)[0, 0].flatten().tolist()
    expected = [1, 2 / 3, 1 / 3, 0, -2 / 3, -1, -2 / 3, 0, 1 / 3, 2 / 3, 1]
    assert found == pytest.approx(expected)


def test_signed_distance_by_scipy_for_each_class():
    rng = np.random.default_rng(0)
    mask = (rng.random((1, 6, 7, 5)) < 0.3).astype(np.int64) + 0
    mask[0, :3] *= 2
    found = signed_distance(torch.from_numpy(mask), 3)[0].numpy()
    for c in (1, 2):
        inside = mask[0] == c
        out = distance_transform_edt(~inside)
        assert np.allclose(found[c - 1][~inside], (out / out.max())[~inside])
        assert (found[c - 1][inside] <= 0).all()


def test_absent_and_full_classes_have_no_border():
    mask = torch.zeros(1, 3, 3, 3, dtype=torch.int64)
    assert signed_distance(mask, 2).unique().tolist() == [1]
    assert signed_distance(mask, 2, "zero").unique().tolist() == [0]
    assert signed_distance(mask + 1, 2).unique().tolist() == [-1]


def test_the_largest_piece_of_each_class_is_kept():
    labels = torch.tensor([1, 0, 1, 1, 0, 2, 2, 0, 2]).view(1, 9, 1, 1)
    assert largest_components(labels, 3).flatten().tolist() == [0, 0, 1, 1, 0, 2, 2, 0, 0]
