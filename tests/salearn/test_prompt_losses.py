import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.losses import focal, mined_pixels, positive_dice


def test_focal_of_two_pixels_by_hand() -> None:
    logits = torch.tensor([0.0, math.log(3)])  # p = 1/2 and 3/4
    truth = torch.tensor([1.0, 0.0])
    # positive: 0.6 (1/2)^2 ln 2; negative: 0.4 (3/4)^2 ln 4
    expected = [0.6 * 0.25 * math.log(2), 0.4 * 0.5625 * math.log(4)]
    assert focal(logits, truth, 0.6, 2).tolist() == pytest.approx(expected)
    plain = focal(logits, truth, None, 0)
    assert plain.tolist() == pytest.approx([math.log(2), math.log(4)])


def test_dice_is_of_positive_prompts_alone() -> None:
    logits = torch.zeros(1, 2, 2, 2, requires_grad=True)
    truth = torch.zeros(1, 2, 2, 2)
    truth[0, 0, 0] = 1
    known = torch.ones(1, 1, 2, 2)
    loss = positive_dice(logits, truth, known)
    # p = 1/2: 1 - (2 * 1 + 1) / (2 + 2 + 1) = 0.4; the empty prompt has no say
    assert loss.item() == pytest.approx(0.4)
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[0, 1] == 0).all()
    assert (logits.grad[0, 0] != 0).all()
    assert positive_dice(logits, torch.zeros_like(truth), known).item() == 0


def test_hard_pixels_by_hand() -> None:
    logits = torch.tensor([[3.0, -1.0, 2.0, 0.5, -3.0, 1.0, 0.0, 4.0]]).view(1, 1, 2, 4)
    truth = torch.zeros(1, 1, 2, 4, dtype=torch.bool)
    truth[0, 0, 0, 1] = True
    known = torch.ones_like(truth)
    known[0, 0, 1, 3] = False  # the highest logit is not known
    # P = 1: K = min(6, 3 * max(1, 0.005 * 7)) = 3: logits 3, 2, 1
    kept = mined_pixels(logits, truth, known)
    assert kept.flatten().nonzero().flatten().tolist() == [0, 1, 2, 5]
    # nothing to find: K = ceil(3 * 0.25 * 7) = 6 of 7; never more than there are
    none = torch.zeros_like(truth)
    assert mined_pixels(logits, none, known, 3.0, 0.25).sum() == 6
    assert mined_pixels(logits, none, known, 3.0, 1.0).sum() == 7
    assert mined_pixels(logits, none, known & False).sum() == 0


@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), ratio=st.sampled_from([0.5, 1.5, 3.0]))
def test_hard_pixels_are_those_of_a_plain_sort(seed: int, ratio: float) -> None:
    rng = np.random.default_rng(seed)
    logits = rng.permutation(2 * 2 * 30).reshape(2, 2, 5, 6).astype(np.float32)
    truth, known = rng.random((2, 2, 5, 6)) < 0.1, rng.random((2, 2, 5, 6)) < 0.8
    kept = mined_pixels(
        torch.from_numpy(logits), torch.from_numpy(truth), torch.from_numpy(known), ratio, 0.05
    ).numpy()
    for b, c in np.ndindex(2, 2):
        yes, no = (truth & known)[b, c], (known & ~truth)[b, c]
        count = min(no.sum(), math.ceil(ratio * max(yes.sum(), 0.05 * known[b, c].sum())))
        worst = np.sort(logits[b, c][no])[::-1][:count]
        np.testing.assert_array_equal(kept[b, c], yes | (no & np.isin(logits[b, c], worst)))
