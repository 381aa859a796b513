"""SFR's own loss and intensity map, their defects included; void and agreement of the plug."""

import math

import numpy as np
import pytest
import torch

from loops.ssl.pseudo_label import PseudoLossSettings, pseudo_loss
from loops.tuning.bezier import bezier_slices
from loops.tuning.loss import sfr_loss
from salearn.cases import IGNORE
from salearn.losses import segmentation_loss


def _logits() -> torch.Tensor:
    return torch.tensor([0.0, 0.0, math.log(3.0)]).reshape(1, 1, 1, 3)


def test_sfr_loss_by_hand_and_its_void_defect() -> None:
    # Softmax over (background logit 0, class): p1 = 1/2, 1/2, 3/4; the last pixel is void.
    target = torch.tensor([[[0, 1, IGNORE]]])
    entropy = math.log(2)
    # Background: overlap 1/2, p^2 1/4 + 1/4, y 1; class 1 the same.
    ignored = 1 - 2 * 0.5 / (0.5 + 1)
    assert sfr_loss(_logits(), target).item() == pytest.approx(0.5 * (entropy + ignored), abs=1e-6)
    # In the denominators: background + (1/4)^2, class 1 + (3/4)^2.
    kept = 0.5 * ((1 - 1 / (1.5 + 1 / 16)) + (1 - 1 / (1.5 + 9 / 16)))
    assert sfr_loss(_logits(), target, "in_dice").item() == pytest.approx(
        0.5 * (entropy + kept), abs=1e-6
    )


def test_without_void_both_are_the_loss_of_the_student() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 2, 5, 4, generator=generator)
    target = torch.randint(3, (2, 5, 4), generator=generator)
    padded = torch.cat([torch.zeros(2, 1, 5, 4), logits], 1)
    expected = segmentation_loss(padded, target).item()
    for void in ("ignored", "in_dice"):
        assert sfr_loss(logits, target, void).item() == pytest.approx(expected, rel=1e-4)


def test_the_map_on_z_scores_flattens_what_lies_outside_0_to_1() -> None:
    image = np.random.default_rng(0).normal(size=(1, 6, 64, 64)).astype(np.float32)
    rng = np.random.default_rng(1)
    clamped = bezier_slices(image, 0, "zscored", rng, probability=1.0)
    outside = (image <= 0) | (image >= 1)
    assert outside.mean() == pytest.approx(0.5 + 0.1587, abs=0.01)  # P(z < 0) + P(z > 1)
    assert set(np.unique(clamped[outside])) == {0.0, 1.0}
    kept = bezier_slices(image, 0, "unit", np.random.default_rng(1), probability=1.0)
    for before, after in zip(image[0], kept[0], strict=True):
        order = np.argsort(before.ravel())
        assert (np.diff(after.ravel()[order]) >= -1e-6).all()  # monotone
        assert (after.min(), after.max()) == pytest.approx((before.min(), before.max()), abs=1e-5)
    assert len(np.unique(kept)) > 0.9 * image.size


def test_about_half_of_the_slices_are_mapped_along_any_axis() -> None:
    image = np.random.default_rng(0).normal(size=(1, 4, 200, 4)).astype(np.float32)
    changed = bezier_slices(image, 1, "unit", np.random.default_rng(2))
    differs = (changed != image).any(axis=(0, 1, 3))
    assert 80 <= differs.sum() <= 120
    assert changed.shape == image.shape


def _crop() -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 3, 4, 4, 4, generator=generator)
    pseudo = torch.softmax(2 * torch.randn(2, 3, 4, 4, 4, generator=generator), 1)
    pseudo[:, :, 0] = 0  # a slice that no tile covers
    return logits, pseudo, torch.ones(2, 4, 4, 4), torch.ones(2)


def test_void_is_left_out_or_becomes_confident_background() -> None:
    logits, pseudo, weight, confidence = _crop()
    hard = pseudo.argmax(1)
    known = hard.clone()
    known[:, 0] = IGNORE
    ours = pseudo_loss(logits, pseudo, weight, confidence, PseudoLossSettings())
    assert ours.item() == pytest.approx(segmentation_loss(logits, known).item(), rel=1e-4)
    hard[:, 0] = 0
    defect = PseudoLossSettings(void="background")
    ours = pseudo_loss(logits, pseudo, weight, confidence, defect)
    assert ours.item() == pytest.approx(segmentation_loss(logits, hard).item(), rel=1e-4)
    pseudo[1] = 0  # a crop without pseudo-label stays out even so
    alone = pseudo_loss(logits, pseudo, weight, confidence, defect)
    assert alone.item() == pytest.approx(segmentation_loss(logits[:1], hard[:1]).item(), rel=1e-4)


def test_agreement_keeps_voxels_where_the_teacher_says_the_same() -> None:
    logits, pseudo, weight, confidence = _crop()
    teacher = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(4))
    chosen = PseudoLossSettings(agreement="teacher")
    mask = torch.where(teacher.argmax(1) == pseudo.argmax(1), pseudo.argmax(1), IGNORE)
    mask[:, 0] = IGNORE
    assert 0.4 < (mask == IGNORE).float().mean() < 0.9
    ours = pseudo_loss(logits, pseudo, weight, confidence, chosen, teacher)
    assert ours.item() == pytest.approx(segmentation_loss(logits, mask).item(), rel=1e-4)
