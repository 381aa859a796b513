import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from salearn.cases import IGNORE
from salearn.data.augment import (
    NO_AUGMENT,
    NO_INTENSITY,
    AugmentSettings,
    IntensitySettings,
    augment,
    change_intensity,
    random_grid,
    warp,
    warp_mask,
)

STILL = {"rotation": (0, 0, 0), "scale": 0, "shift": 0, "weak": NO_INTENSITY}


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


def _batch(size=(9, 11, 13), batch=2, seed=0):
    generator = _generator(seed)
    image = torch.randn(batch, 1, *size, generator=generator)
    return image, torch.randint(3, (batch, *size), generator=generator)


def test_nothing_to_do_changes_nothing():
    image, mask = _batch()
    same_image, same_mask = augment(image, mask, NO_AUGMENT, _generator())
    assert same_image is image
    assert same_mask is mask


def test_a_margin_alone_is_cut_off_exactly():
    image, mask = _batch((12, 14, 10))
    grid = random_grid(2, (12, 14, 10), (8, 10, 6), NO_AUGMENT, _generator())
    assert torch.allclose(warp(image, grid), image[:, :, 2:-2, 2:-2, 2:-2], atol=1e-5)
    assert torch.equal(warp_mask(mask, grid), mask[:, 2:-2, 2:-2, 2:-2])


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_mirrors_its_axis_and_no_other(axis):
    image, mask = _batch()
    chosen = AugmentSettings(flips=(axis,), **STILL)
    seen = set()
    for seed in range(8):
        moved, moved_mask = augment(image, mask, chosen, _generator(seed))
        for i in range(2):
            flipped = torch.allclose(moved[i], image[i].flip(axis + 1), atol=1e-5)
            assert flipped or torch.allclose(moved[i], image[i], atol=1e-5)
            expected = mask[i].flip(axis) if flipped else mask[i]
            assert torch.equal(moved_mask[i], expected)
            seen.add(flipped)
    assert seen == {True, False}


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_the_map_equals_scipy_affine_transform(seed):
    """Read the matrix off the grid, apply it with scipy: sides differ, so axis order matters."""
    size = (9, 11, 13)
    image, _ = _batch(size, batch=1, seed=seed)
    chosen = AugmentSettings(rotation=(30, 20, 40), scale=0.3, shift=3, flips=(1,))
    grid = random_grid(1, size, size, chosen, _generator(seed))
    # Coordinates in voxels, axes x y z: grid_sample has them reversed and in half sides.
    half = torch.tensor(size) / 2
    where = (grid[0].flip(-1) * half + half - 0.5).double().numpy()
    matrix = np.stack([where[1, 0, 0] - where[0, 0, 0], where[0, 1, 0] - where[0, 0, 0],
                       where[0, 0, 1] - where[0, 0, 0]], axis=1)  # fmt: skip
    moved = ndimage.affine_transform(
        image[0, 0].double().numpy(), matrix, where[0, 0, 0], order=1, mode="nearest"
    )
    assert np.allclose(warp(image, grid)[0, 0].numpy(), moved, atol=1e-3)
    # The part of the matrix that is no scaling is a rotation of at most the angles asked for.
    factors = np.linalg.norm(matrix, axis=0)
    assert np.all((factors > 1 / 1.31) & (factors < 1 / 0.69))
    assert np.allclose((matrix / factors).T @ (matrix / factors), np.eye(3), atol=1e-4)


def test_one_angle_is_a_rotation_of_that_size_in_voxels():
    chosen = AugmentSettings(rotation=(0, 0, 90), scale=0, shift=0)
    size = (8, 12, 6)
    grid = random_grid(50, size, size, chosen, _generator())
    half = torch.tensor(size) / 2
    where = grid.flip(-1) * half + half - 0.5
    step = where[:, 1, 0, 0] - where[:, 0, 0, 0]
    assert torch.allclose(step.norm(dim=1), torch.ones(50), atol=1e-4)
    assert step[:, 2].abs().max() < 1e-5  # about z: x and y change only
    angles = torch.atan2(step[:, 1], step[:, 0]).abs() * 180 / math.pi
    assert 60 < angles.max() <= 90.01


def test_masks_keep_their_values_and_are_ignored_outside():
    image, mask = _batch((16, 16, 16), batch=8)
    mask[:, 4:12] = IGNORE
    chosen = AugmentSettings(rotation=(0, 0, 0), scale=0, shift=6, flips=())
    _, moved = augment(image, mask, chosen, _generator())
    assert set(moved.unique().tolist()) <= {0, 1, 2, IGNORE}
    assert moved.dtype == mask.dtype
    assert (moved == IGNORE).sum() > (mask == IGNORE).sum() // 2
    ones = torch.ones(8, 16, 16, 16, dtype=torch.int64)
    _, moved = augment(image, ones, chosen, _generator())
    assert set(moved.unique().tolist()) == {1, IGNORE}


def test_probabilities_stay_probabilities():
    pseudo = torch.softmax(torch.randn(2, 4, 12, 12, 12, generator=_generator()), 1)
    grid = random_grid(2, (12, 12, 12), (8, 8, 8), AugmentSettings(), _generator())
    moved = warp(pseudo, grid)
    assert torch.allclose(moved.sum(1), torch.ones(2, 8, 8, 8), atol=1e-4)
    assert moved.min() >= 0


def test_image_and_mask_move_together():
    image = torch.zeros(4, 1, 16, 20, 16)
    image[:, :, 5:11, 6:13, 4:9] = 1
    moved, mask = augment(
        image, image[:, 0].long(), AugmentSettings(weak=NO_INTENSITY), _generator()
    )
    known = mask != IGNORE
    agreement = ((moved[:, 0] > 0.5) == (mask == 1))[known].float().mean()
    assert agreement > 0.99


def test_gain_and_offset_by_their_ranges():
    image = torch.ones(200, 1, 2, 2, 2)
    chosen = IntensitySettings(gain=0.2, offset=0.3, gamma=0, noise=0)
    values = change_intensity(image, chosen, _generator())[:, 0, 0, 0, 0]
    assert 0.5 <= values.min() < 0.65
    assert 1.35 < values.max() <= 1.5


def test_gamma_keeps_order_and_ends():
    image = torch.linspace(-2, 3, 64).view(1, 1, 4, 4, 4)
    chosen = IntensitySettings(gain=0, offset=0, gamma=0.7, noise=0)
    changed = change_intensity(image, chosen, _generator()).flatten()
    assert (changed.diff() >= 0).all()
    assert changed[[0, -1]].tolist() == pytest.approx([-2, 3], abs=1e-5)
    flat = change_intensity(torch.ones(1, 1, 2, 2, 2), chosen, _generator())
    assert torch.isfinite(flat).all()


def test_noise_has_at_most_the_asked_spread():
    chosen = IntensitySettings(gain=0, offset=0, gamma=0, noise=0.5)
    noise = change_intensity(torch.zeros(30, 1, 10, 10, 10), chosen, _generator())
    spread = noise.flatten(1).std(1)
    assert spread.max() < 0.55
    assert spread.min() < 0.1


def test_the_generator_decides_everything_and_strong_is_stronger():
    image, mask = _batch()
    first = augment(image, mask, AugmentSettings(), _generator(3))
    again = augment(image, mask, AugmentSettings(), _generator(3))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    both = AugmentSettings()
    change = [
        (change_intensity(image, s, _generator(1)) - image).abs().mean()
        for s in (both.weak, both.strong)
    ]
    assert change[1] > 1.5 * change[0]
