"""Numbers that the hosts must give, by hand or by numpy."""

import math

import numpy as np
import pytest
import torch
from host_step import CLASSES, make_step

from loops.ssl.ac_mt import AmbiguityConsensus
from loops.ssl.bcp import BidirectionalCopyPaste
from loops.ssl.cct import CrossConsistency
from loops.ssl.co_training import CoTraining
from loops.ssl.cps import CrossPseudoSupervision
from loops.ssl.dtc import DualTask
from loops.ssl.fixmatch import FixMatch
from loops.ssl.ict import InterpolationConsistency, beta_draw
from loops.ssl.magicnet import MagicCubes, rarity
from loops.ssl.mc_net import sharpened
from loops.ssl.mean_teacher import MeanTeacher
from loops.ssl.self_training import SelfTraining
from loops.ssl.step import Plan
from loops.ssl.ua_mt import UncertaintyAware
from loops.ssl.urpc import PyramidConsistency, rectified_distance
from salearn.losses import sigmoid_ramp
from salearn.models.vnet import VNetSettings


def _soft(logits):
    return torch.softmax(logits, 1).detach().numpy()


def _random_softmax(voxels=200_000):
    generator = torch.Generator().manual_seed(0)
    return torch.softmax(torch.randn(1, 4, voxels, 1, 1, generator=generator), 1)


def test_fixmatch_accepts_four_percent_of_random_softmaxes_and_not_67():
    soft = _random_softmax()
    _, keep = FixMatch(threshold=0.8).accept(soft)
    assert keep.mean().item() == pytest.approx(0.036, abs=0.003)
    # the score of a much-copied script, (max - min) / max, would accept two thirds
    low, high = soft.amin(1), soft.amax(1)
    assert ((high - low) / high > 0.8).float().mean().item() == pytest.approx(0.67, abs=0.01)


def test_fixmatch_does_not_believe_four_in_ten():
    soft = torch.tensor([0.4, 0.3, 0.2, 0.1]).view(1, 4, 1, 1, 1)
    labels, keep = FixMatch(threshold=0.8).accept(soft)
    assert (labels.item(), keep.item()) == (0, 0)
    assert FixMatch(threshold=0.4).accept(soft)[1].item() == 1


def test_fixmatch_lowers_the_threshold_of_a_class_that_is_seldom_certain():
    # class 0: 0.99 0.98 0.97 0.96; class 1: 0.8 0.7 0.6 0.55 -> upper half from 0.7 on
    sure = torch.tensor([0.99, 0.98, 0.97, 0.96, 0.2, 0.3, 0.4, 0.45]).view(1, 1, 8, 1, 1)
    soft = torch.cat([sure, 1 - sure], 1)
    _, keep = FixMatch(threshold=0.9, quantile=0.5).accept(soft)
    assert keep.flatten().tolist() == [1, 1, 1, 1, 1, 1, 0, 0]


def test_fixmatch_ignores_what_it_rejects():
    host = FixMatch(threshold=0.6, weight=1.0)
    step = make_step(host)
    term = host.terms(step)["fixmatch"].item()
    q, p = _soft(step.student(step.weak)), _soft(step.student(step.strong))
    labels, keep = q.argmax(1), q.max(1) >= 0.6
    assert 0.05 < keep.mean() < 0.95
    hot = np.moveaxis(np.eye(CLASSES)[labels], -1, 1)
    ce = -(np.log(p) * hot).sum(1)[keep].mean()
    m = keep[:, None]
    axes = (0, 2, 3, 4)
    sizes = (m * (p**2 + hot)).sum(axes) + 1e-5
    dice = (1 - (2 * (m * p * hot).sum(axes) + 1e-5) / sizes).mean()
    assert term == pytest.approx(0.5 * (ce + dice), rel=1e-4)
    assert step.log["accepted"] == pytest.approx(keep.mean())


def test_ua_mt_threshold_uses_ln_k():
    host = UncertaintyAware()
    # start: 0.75 + 0.25 exp(-5) = 0.751684; end: 1
    for k in (2, 4, 14):
        assert host.threshold(0.0, k) == pytest.approx(0.75168449 * math.log(k))
        assert host.threshold(1.0, k) == pytest.approx(math.log(k))


def test_ua_mt_by_numpy_without_noise():
    host = UncertaintyAware(noise=0.0, weight=1.0, ramp=0.0)
    step = make_step(host, progress=0.0)
    term = host.terms(step)["consistency"].item()
    p, t = _soft(step.student(step.weak)), _soft(step.teacher(step.weak))
    keep = -(t * np.log(t + 1e-6)).sum(1) < 0.75168449 * math.log(CLASSES)
    assert 0.05 < keep.mean() < 0.95
    squares = ((p - t) ** 2).sum(1)
    assert term == pytest.approx(squares[keep].sum() / (CLASSES * keep.sum()), rel=1e-4)


def test_ac_mt_by_numpy_without_noise():
    host = AmbiguityConsensus(noise=0.0, weight=1.0, ramp=0.0)
    step = make_step(host, progress=1.0)
    term = host.terms(step)["consistency"].item()
    p, t = _soft(step.student(step.weak)), _soft(step.teacher(step.weak))
    keep = -(p * np.log(p)).sum(1) / math.log(CLASSES) >= 0.95
    assert host.threshold(1.0) == pytest.approx(0.95)
    assert keep.any()
    assert term == pytest.approx(((p - t) ** 2).mean(1)[keep].mean(), rel=1e-3)


def test_ramp_of_six_thousand_iterations_as_published():
    published = {0: 0.0007, 1000: 0.0027, 2000: 0.010, 3000: 0.029, 4000: 0.054, 5000: 0.086,
                 6000: 0.100}  # fmt: skip
    for t, weight in published.items():
        # w_max exp(-5 (1 - floor(t / 150) / 40)^2), a share of 40 steps as ours is of the training
        found = MeanTeacher().weight * sigmoid_ramp((t // 150) / 40, MeanTeacher().ramp)
        assert found == pytest.approx(weight, abs=5e-4 if t > 1000 else 5e-5)


def test_mean_teacher_consistency_by_numpy():
    host = MeanTeacher(weight=0.3, ramp=1.0, noise=0.0)
    step = make_step(host, progress=0.5)
    term = host.terms(step)["consistency"].item()
    p, t = _soft(step.student(step.weak)), _soft(step.teacher(step.weak))
    # 0.3 exp(-5 (1 - 0.5)^2) times the mean of squares
    assert term == pytest.approx(0.3 * 0.28650479 * ((p - t) ** 2).mean(), rel=1e-4)


def test_mean_teacher_on_all_crops_weighs_every_crop_alike():
    quiet = {"weight": 1.0, "ramp": 0.0, "noise": 0.0}
    host = MeanTeacher(consistency="all", **quiet)
    step = make_step(host, labeled=2, unlabeled=2)
    gaps = [
        ((_soft(step.student(x)) - _soft(step.teacher(x))) ** 2).mean()
        for x in (step.image, step.weak)
    ]
    assert host.terms(step)["consistency"].item() == pytest.approx(sum(gaps) / 2, rel=1e-4)


def test_mean_teacher_noise_is_clipped_and_goes_to_the_teacher_only():
    step = make_step(MeanTeacher())
    seen = []
    step.teacher.module.register_forward_hook(lambda module, args, out: seen.append(args[0]))
    MeanTeacher().terms(step)
    noise = (seen[0] - step.weak).abs()
    assert 0.15 < noise.max() <= 0.2 + 1e-6
    assert len(step.student.batches) == 2  # the weak crops themselves


def test_self_training_rises_in_a_straight_line_from_start_to_full():
    host = SelfTraining(weight=2.0, start=0.2, full=0.6)
    assert [host.weight_at(t) for t in (0, 0.2, 0.4, 0.6, 1)] == pytest.approx([0, 0, 1, 2, 2])
    assert set(host.terms(make_step(host, progress=0.1))) == {"supervised"}


def test_co_training_starts_after_an_eighth():
    host = CoTraining(weight=2.0)
    # (0.5 - 0.125) / 0.875 = 3/7
    assert [host.weight_at(t) for t in (0.1, 0.5, 1)] == pytest.approx([0, 6 / 7, 2])


def test_cps_by_numpy():
    host = CrossPseudoSupervision(weight=1.0, ramp=0.0)
    step = make_step(host)
    term = host.terms(step)["cross"].item()
    p, q = _soft(step.student(step.weak)), _soft(step.memo["second"])
    rows = np.indices(p.argmax(1).shape)

    def ce(a, b):
        return -np.log(a[rows[0], b.argmax(1), rows[1], rows[2], rows[3]]).mean()

    assert term == pytest.approx(ce(p, q) + ce(q, p), rel=1e-4)


def test_dtc_heads_agree_where_distance_and_probability_do():
    host = DualTask()
    logits = torch.tensor([[-20.0, 20.0], [20.0, -20.0]]).view(2, 2, 1, 1, 1)
    inside, outside = -0.5 * torch.ones(1, 1, 1, 1, 1), 0.5 * torch.ones(1, 1, 1, 1, 1)
    distance = torch.cat([inside, outside])
    assert host.gap(logits, distance).max() < 1e-12
    assert host.gap(logits, -distance).min() > 1 - 1e-6
    # on the border both say one half
    assert host.gap(torch.zeros(2, 2, 1, 1, 1), 0 * distance).max() == 0


def test_urpc_by_numpy_and_zero_when_all_levels_agree():
    generator = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 3, 4, 4, 4, generator=generator) for _ in range(3)]
    p = [_soft(x) for x in logits]
    mean = np.mean(p, axis=0)
    losses = []
    for x in p:
        d = (mean * np.log(mean / x)).sum(1, keepdims=True)
        losses.append(((x - mean) ** 2 * np.exp(-d)).mean() / np.exp(-d).mean() + d.mean())
    assert rectified_distance(logits)[0].item() == pytest.approx(np.mean(losses), rel=1e-4)
    assert abs(rectified_distance([logits[0]] * 3)[0].item()) < 1e-5


def test_urpc_side_heads_have_454_parameters_at_the_papers_setting():
    plan = Plan(channels=1, num_classes=2, net=VNetSettings(width=16, depth=4), patch=(16, 16, 16))
    parts = PyramidConsistency().parts(plan)
    # 32*2+2 + 64*2+2 + 128*2+2
    assert sum(p.numel() for part in parts.values() for p in part.net.parameters()) == 454
    assert [parts[f"level_{i}"].net.dropout.p for i in (1, 2, 3)] == [0.2, 0.3, 0.5]


def test_ict_mixes_inputs_and_targets_alike():
    host = InterpolationConsistency(weight=1.0, ramp=0.0)
    step = make_step(host, draw=5)
    share = beta_draw(0.2, torch.Generator().manual_seed(5))
    term = host.terms(step)["consistency"].item()
    assert step.log["share"] == share
    mixed = share * step.weak + (1 - share) * step.weak.flip(0)
    t = _soft(step.teacher(step.weak))
    target = share * t + (1 - share) * t[::-1]
    p = _soft(step.student.net(mixed))
    assert term == pytest.approx(((p - target) ** 2).mean(), rel=1e-3)


def test_sharpening_by_hand():
    # 0.6^10 / (0.6^10 + 0.4^10) = 0.98295; a tie of two stays a tie
    soft = torch.tensor([[0.6, 0.4], [0.5, 0.5]]).view(2, 2, 1, 1, 1)
    found = sharpened(soft, 0.1).flatten().tolist()
    assert found == pytest.approx([0.98295, 0.01705, 0.5, 0.5], abs=1e-4)


def test_bcp_learns_masks_outside_the_box_of_the_first_half_and_inside_of_the_other():
    host = BidirectionalCopyPaste(alpha=1.0)
    step = make_step(host, labeled=2, unlabeled=2)
    host.terms(step)
    _, unlabeled = step.memo["mixed"]
    # floor(2/3 * 8) = 5: the box has 125 of 512 voxels, the complement 387
    assert unlabeled.flatten(1).sum(1).tolist() == [125, 387]
    mixed = next(image for image, _ in step.student._seen)
    for row in (0, 1):
        there = unlabeled[row] > 0
        assert torch.equal(mixed[row, 0][there], step.weak[row, 0][there])
        assert torch.equal(mixed[row, 0][~there], step.image[row, 0][~there])


def test_bcp_mixes_labeled_crops_alone_at_first():
    host = BidirectionalCopyPaste(pretrain=0.5)
    step = make_step(host, progress=0.4, labeled=2)
    assert set(host.terms(step)) == {"supervised"}
    mixed = next(image for image, _ in step.student._seen)
    from_first = (mixed[0] == step.image[0]).float().sum()
    assert from_first == 387


def test_cct_disturbances_by_hand():
    host = CrossConsistency(attention=(0.5, 0.5))
    x = torch.tensor([1.0, 2.0, 4.0, 3.0]).view(1, 1, 4, 1, 1)
    generator = torch.Generator().manual_seed(0)
    # half of the maximum is 2: what reaches it is zeroed
    assert host._blinded(x, generator).flatten().tolist() == [1, 0, 0, 0]
    ratio = host._noisy(x, generator) / x
    assert (ratio - 1).abs().max() <= 0.3
    dropped = host._dropped(torch.ones(1, 1000, 1, 1, 1), generator)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.7])


def test_magicnet_blends_rare_classes_by_half_and_the_commonest_not_at_all():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2]).view(1, 7, 1, 1)
    soft = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()
    # 4, 2, 1 voxels: half of 1 - 1, 1 - 2/4, 1 - 1/4
    assert rarity(soft).flatten().tolist() == [0, 0, 0, 0, 0.25, 0.25, 0.375]
    step = make_step(MagicCubes())
    assert set(MagicCubes().terms(step)) == {"supervised", "magic", "location"}
