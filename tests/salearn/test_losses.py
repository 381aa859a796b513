import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.losses import (
    IGNORE,
    consistency_mse,
    dice_loss,
    linear_decay,
    segmentation_loss,
    sigmoid_ramp,
    soft_segmentation_loss,
)


def _random(classes=3, size=(4, 5, 6), seed=0, ignored=0.2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, classes, *size, generator=generator)
    mask = torch.randint(classes, (2, *size), generator=generator)
    mask[torch.rand(mask.shape, generator=generator) < ignored] = IGNORE
    return logits, mask


def _by_numpy(logits, mask, squared=True):
    """The literature form, voxel lists instead of masks."""
    x = np.moveaxis(logits.double().numpy(), 1, -1)
    known = mask.numpy() != IGNORE
    x, y = x[known], mask.numpy()[known]
    p = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    hot = np.eye(p.shape[1])[y]
    power = 2 if squared else 1
    dice = [
        1 - (2 * (p[:, c] * hot[:, c]).sum() + 1e-5) / ((p**power + hot)[:, c].sum() + 1e-5)
        for c in range(p.shape[1])
    ]
    return 0.5 * (-np.log(p[np.arange(len(y)), y]).mean() + np.mean(dice))


def test_two_voxels_by_hand():
    # p = (3/4, 1/4) at a voxel of class 0 and (1/2, 1/2) at one of class 1.
    logits = torch.tensor([[[math.log(3.0), 0.0], [0.0, 0.0]]])
    mask = torch.tensor([[0, 1]])
    entropy = (math.log(4 / 3) + math.log(2)) / 2
    dice = 1 - ((2 * 0.75) / (0.75**2 + 0.5**2 + 1) + (2 * 0.5) / (0.25**2 + 0.5**2 + 1)) / 2
    expected = 0.5 * (entropy + dice)
    assert segmentation_loss(logits, mask).item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("classes", [2, 4, 14])
@pytest.mark.parametrize("squared", [True, False])
def test_hard_loss_equals_a_numpy_computation(classes, squared):
    logits, mask = _random(classes)
    ours = segmentation_loss(logits, mask, squared=squared).item()
    assert ours == pytest.approx(_by_numpy(logits, mask, squared), rel=1e-5)


def test_cross_entropy_part_equals_torch():
    logits, mask = _random()
    dice = dice_loss(
        torch.softmax(logits, 1),
        torch.nn.functional.one_hot(mask * (mask != IGNORE), 3).movedim(-1, 1).float(),
        (mask != IGNORE).float(),
    )
    entropy = torch.nn.functional.cross_entropy(logits, mask, ignore_index=IGNORE)
    assert segmentation_loss(logits, mask).item() == pytest.approx(
        0.5 * (entropy + dice).item(), rel=1e-5
    )


@settings(max_examples=15, deadline=None, derandomize=True)
@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 50))
def test_ignored_voxels_change_neither_loss_nor_gradient(seed, scale):
    logits, mask = _random(seed=seed)
    changed = torch.where((mask == IGNORE).unsqueeze(1), logits * scale + 3, logits)
    values, gradients = [], []
    for x in (logits, changed):
        leaf = x.clone().requires_grad_()
        loss = segmentation_loss(leaf, mask)
        loss.backward()
        values.append(loss.item())
        gradients.append(leaf.grad)
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    assert torch.allclose(gradients[0], gradients[1], atol=1e-7)
    assert gradients[1][(mask == IGNORE).unsqueeze(1).expand_as(logits)].abs().max() == 0


def test_everything_ignored_is_a_zero_with_zero_gradient():
    logits = torch.randn(1, 3, 4, 4, 4, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 4, 4, 4), IGNORE))
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(logits.grad) == 0


def test_an_absent_class_leaves_loss_and_gradient_finite():
    logits = torch.full((1, 3, 2, 2, 2), -60.0)
    logits[:, 0] = 60.0
    logits.requires_grad_()
    loss = segmentation_loss(logits, torch.zeros(1, 2, 2, 2, dtype=torch.int64))
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert torch.isfinite(logits.grad).all()


def test_soft_loss_with_one_hot_targets_is_the_hard_loss():
    logits, mask = _random()
    weight = (mask != IGNORE).float()
    hot = torch.nn.functional.one_hot(mask * (mask != IGNORE), 3).movedim(-1, 1).float()
    soft = soft_segmentation_loss(logits, hot, weight)
    assert soft.item() == pytest.approx(segmentation_loss(logits, mask).item(), rel=1e-6)


def test_soft_loss_is_finite_when_no_voxel_has_weight():
    logits = torch.randn(1, 2, 2, 2, 2, requires_grad=True)
    loss = soft_segmentation_loss(logits, torch.full_like(logits, 0.5), torch.zeros(1, 2, 2, 2))
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(logits.grad) == 0


def test_background_can_be_left_out_of_dice():
    p = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # class 0 at voxel 0, class 1 at voxel 1
    y = torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])  # class 1 everywhere
    # class 1: 2*1 / (1 + 2) = 2/3; class 0: 0 / 1
    assert dice_loss(p, y, torch.ones(1, 2)).item() == pytest.approx(1 - 1 / 3, abs=1e-4)
    alone = dice_loss(p, y, torch.ones(1, 2), background=False)
    assert alone.item() == pytest.approx(1 / 3, abs=1e-4)


def test_consistency_by_hand_and_no_gradient_to_the_teacher():
    student = torch.tensor([[[math.log(3.0)], [0.0]]], requires_grad=True)  # (3/4, 1/4)
    teacher = torch.zeros(1, 2, 1, requires_grad=True)  # (1/2, 1/2)
    loss = consistency_mse(student, teacher)
    loss.backward()
    assert loss.item() == pytest.approx(1 / 16)  # ((1/4)^2 + (1/4)^2) / 2
    assert student.grad.abs().max() > 0
    assert teacher.grad is None


def test_consistency_weight_leaves_voxels_out():
    student, teacher = torch.zeros(1, 2, 2), torch.zeros(1, 2, 2)
    student[0, 0, 0] = 5.0
    weight = torch.tensor([[0.0, 1.0]])
    assert consistency_mse(student, teacher, weight).item() == 0
    assert consistency_mse(student, teacher, torch.zeros(1, 2)).item() == 0


@pytest.mark.parametrize(
    ("iteration", "weight"),
    [
        (0, 0.0007),
        (1000, 0.0027),
        (2000, 0.010),
        (3000, 0.029),
        (4000, 0.054),
        (5000, 0.086),
        (6000, 0.100),
    ],
)
def test_the_ramp_gives_the_printed_weights_of_mean_teacher(iteration, weight):
    # The references step every 150 iterations: w = 0.1 exp(-5 (1 - (t // 150) / 40)^2).
    assert 0.1 * sigmoid_ramp(iteration // 150 * 150 / 6000) == pytest.approx(weight, abs=6e-4)


def test_ramps_are_held_at_their_ends():
    assert sigmoid_ramp(0.7, 0.5) == sigmoid_ramp(2.0) == sigmoid_ramp(0.0, 0.0) == 1.0
    assert sigmoid_ramp(-1.0) == pytest.approx(math.exp(-5))
    assert [linear_decay(x) for x in (-1, 0, 0.25, 1, 2)] == [1, 1, 0.75, 0, 0]
