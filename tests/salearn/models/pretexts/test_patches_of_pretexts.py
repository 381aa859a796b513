import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.models.pretexts.patches import (
    balanced_keep,
    flat_patches,
    hidden_of,
    kept_places,
    patchify,
    random_hidden,
    reconstruction_loss,
    window_places,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_patches_are_cut_row_by_row():
    image = torch.arange(16.0).view(1, 1, 4, 4)
    # rows 0..3 of the picture: 0 1 2 3 / 4 5 6 7 / 8 9 10 11 / 12 13 14 15
    expected = [[0, 1, 4, 5], [2, 3, 6, 7], [8, 9, 12, 13], [10, 11, 14, 15]]
    assert patchify(image, 2)[0].tolist() == expected


def test_the_loss_by_hand_on_a_grid_of_three_patches():
    """D = 4. Patch one 1 3 1 3: mean 2, variance 4/3, so targets are -+ sqrt(3)/2."""
    patches = torch.tensor([[[1.0, 3, 1, 3], [0.0, 0, 0, 8], [5.0, 5, 5, 6]]])
    half = 3**0.5 / 2
    # two: mean 2, squares 4+4+4+36 = 48, variance 16, targets -1/2 -1/2 -1/2 3/2
    predicted = torch.tensor([[[-half, half, -half, half + 1], [0.0, 0, 0, 0], [9.0, 9, 9, 9]]])
    both = torch.tensor([[True, True, False]])
    # one: error 1 in one of four pixels = 1/4; two: (1/4 + 1/4 + 1/4 + 9/4) / 4 = 3/4
    assert float(reconstruction_loss(predicted, patches, both)) == pytest.approx(0.5, abs=1e-5)
    first = torch.tensor([[True, False, False]])
    assert float(reconstruction_loss(predicted, patches, first)) == pytest.approx(0.25, abs=1e-5)
    none = torch.zeros(1, 3, dtype=torch.bool)
    assert float(reconstruction_loss(predicted, patches, none)) == 0


def test_who_answers_the_mean_of_each_patch_scores_one_less_a_pixel():
    patches = torch.rand(2, 5, 64, generator=seeded())
    loss = reconstruction_loss(torch.zeros_like(patches), patches, torch.ones(2, 5).bool())
    assert float(loss) == pytest.approx(63 / 64, abs=1e-3)


def test_visible_targets_leave_the_loss_as_it_is():
    patches, predicted = torch.rand(2, 3, 6, 8, generator=seeded()).unbind(0)
    hidden = random_hidden(3, 6, 0.5, seeded())
    loss = reconstruction_loss(predicted, patches, hidden)
    other = torch.where(hidden[..., None], patches, -7 * patches)
    assert float(reconstruction_loss(predicted, other, hidden)) == float(loss)
    changed = torch.where(hidden[..., None], patches.flip(-1), patches)
    assert float(reconstruction_loss(predicted, changed, hidden)) != float(loss)


def test_black_border_and_void_show_nothing():
    image = torch.full((1, 3, 8, 8), -1.0)  # four patches of 4 x 4: black,
    image[:, :, :4, 4:] = 0.0  # void of a mosaic,
    image[:, :, 4:, :4] = torch.rand(4, 4, generator=seeded())  # something,
    image[:, :, 7, 7] = 0.5  # and black with one bright pixel
    assert flat_patches(patchify(image, 4), 1e-3)[0].tolist() == [True, True, False, False]


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.integers(1, 4), st.sampled_from([0.25, 0.5, 0.6, 0.75]), st.integers(0, 99))
def test_every_window_keeps_as_many_tokens(factor, ratio, seed):
    rows = 4 * factor
    places = window_places(rows, 4)
    keep = balanced_keep(2, factor**2, 16, ratio, seeded(seed))
    stay = round((1 - ratio) * 16)
    assert keep.shape == (2, factor**2, stay)
    hidden = hidden_of(keep, places)
    grid = hidden.view(2, factor, 4, factor, 4)  # brute force: count in every 4 x 4 square
    assert ((~grid).sum((2, 4)) == stay).all()
    assert sorted(kept_places(keep, places)[0].tolist()) == np.flatnonzero(~hidden[0]).tolist()


def test_random_hiding_takes_exactly_the_share():
    hidden = random_hidden(5, 37, 0.6, seeded())
    assert hidden.sum(1).tolist() == [22] * 5  # round(22.2)
    assert len({tuple(row.tolist()) for row in hidden}) == 5


def test_at_least_one_token_of_a_window_stays():
    assert balanced_keep(1, 1, 4, 0.99, seeded()).shape == (1, 1, 1)
