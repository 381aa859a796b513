import math

import pytest
import torch

from loops.ssl.pseudo_label import PseudoLossSettings, pseudo_loss
from salearn.cases import IGNORE
from salearn.losses import segmentation_loss, soft_segmentation_loss


def _case(seed=0, crops=2):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(crops, 3, 4, 4, 4, generator=generator)
    pseudo = torch.softmax(2 * torch.randn(crops, 3, 4, 4, 4, generator=generator), 1)
    return logits, pseudo, torch.ones(crops, 4, 4, 4), torch.ones(crops)


def test_hard_targets_are_the_loss_against_the_argmax():
    logits, pseudo, weight, confidence = _case()
    ours = pseudo_loss(logits, pseudo, weight, confidence, PseudoLossSettings())
    expected = segmentation_loss(logits, pseudo.argmax(1))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)


def test_soft_targets_are_the_stored_probabilities():
    logits, pseudo, weight, confidence = _case()
    soft = PseudoLossSettings(targets="soft")
    ours = pseudo_loss(logits, pseudo, weight, confidence, soft)
    expected = soft_segmentation_loss(logits, pseudo)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-4)


def test_doubtful_voxels_are_left_out():
    logits, pseudo, weight, confidence = _case()
    chosen = PseudoLossSettings(voxel_threshold=0.7)
    ours = pseudo_loss(logits, pseudo, weight, confidence, chosen)
    mask = torch.where(pseudo.amax(1) >= 0.7, pseudo.argmax(1), IGNORE)
    assert 0.1 < (mask == IGNORE).float().mean() < 0.9
    assert ours.item() == pytest.approx(segmentation_loss(logits, mask).item(), rel=1e-4)


def test_voxel_confidence_weighs_by_the_greatest_probability():
    logits, pseudo, weight, confidence = _case()
    chosen = PseudoLossSettings(voxel_confidence=True, targets="soft")
    ours = pseudo_loss(logits, pseudo, weight, confidence, chosen)
    expected = soft_segmentation_loss(logits, pseudo, pseudo.amax(1))
    assert ours.item() == pytest.approx(expected.item(), rel=1e-4)


def test_case_confidence_scales_each_crop_and_does_not_cancel():
    logits, pseudo, weight, _ = _case()
    chosen = PseudoLossSettings(case_confidence=True)
    confidence = torch.tensor([0.25, 0.75])
    ours = pseudo_loss(logits, pseudo, weight, confidence, chosen).item()
    each = [segmentation_loss(logits[[i]], pseudo[[i]].argmax(1)).item() for i in range(2)]
    assert ours == pytest.approx((0.25 * each[0] + 0.75 * each[1]) / 2, rel=1e-4)


@pytest.mark.parametrize("case_confidence", [True, False])
def test_a_crop_without_pseudo_label_counts_for_nothing(case_confidence):
    logits, pseudo, weight, confidence = _case()
    chosen = PseudoLossSettings(case_confidence=case_confidence)
    pseudo[1] = 0
    confidence[1] = 0
    logits.requires_grad_()
    loss = pseudo_loss(logits, pseudo, weight, confidence, chosen)
    loss.backward()
    alone = pseudo_loss(logits[[0]], pseudo[[0]], weight[[0]], confidence[[0]], chosen)
    assert loss.item() == pytest.approx(alone.item(), rel=1e-4)
    assert torch.count_nonzero(logits.grad[1]) == 0


@pytest.mark.parametrize("case_confidence", [True, False])
def test_no_believed_voxel_is_a_zero_with_zero_gradient(case_confidence):
    logits, pseudo, weight, confidence = _case()
    logits.requires_grad_()
    chosen = PseudoLossSettings(case_confidence=case_confidence)
    loss = pseudo_loss(logits, pseudo, 0 * weight, confidence, chosen)
    loss.backward()
    assert loss.item() == 0
    assert torch.count_nonzero(logits.grad) == 0


def test_weight_schedules():
    constant = PseudoLossSettings(weight=2.0)
    ramp = PseudoLossSettings(weight=2.0, schedule="ramp")
    decay = PseudoLossSettings(weight=2.0, schedule="decay")
    assert [constant.weight_at(x) for x in (0.0, 1.0)] == [2, 2]
    assert ramp.weight_at(0.0) == pytest.approx(2 * math.exp(-5))
    assert ramp.weight_at(1.0) == 2
    assert [decay.weight_at(x) for x in (0.0, 0.25, 1.0)] == [2, 1.5, 0]
