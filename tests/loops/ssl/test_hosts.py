"""The contract of every registered host."""

import pytest
import torch

from loops.ssl.mean_teacher import MeanTeacher
from loops.ssl.registry import HOSTS, Host, Step, available, build
from salearn.cases import IGNORE
from salearn.losses import segmentation_loss
from salearn.models.ema import Ema
from salearn.models.vnet import VNet, VNetSettings

CLASSES = 4


@pytest.fixture(params=available())
def host(request):
    return build(request.param)


class Watch(torch.nn.Module):
    """Counts how many samples reach the student in each pass."""

    def __init__(self, net):
        super().__init__()
        self.net = net
        self.batches = []

    def forward(self, image):
        self.batches.append(len(image))
        return self.net(image)


def _step(progress=0.9, labeled=1, unlabeled=2, seed=0, ignored=False):
    torch.manual_seed(seed)
    net = VNet(1, CLASSES, VNetSettings(width=4, depth=1)).train()
    teacher = Ema(net, 0.9)
    with torch.no_grad():
        for value in teacher.module.parameters():  # a teacher that disagrees
            value += 0.1 * torch.randn_like(value)
    mask = torch.randint(CLASSES, (labeled, 8, 8, 8))
    weak = torch.randn(unlabeled, 1, 8, 8, 8) if unlabeled else None
    return Step(
        student=Watch(net),
        teacher=teacher,
        image=torch.randn(labeled, 1, 8, 8, 8),
        mask=torch.full_like(mask, IGNORE) if ignored else mask,
        weak=weak,
        strong=None if weak is None else weak + 0.2 * torch.randn_like(weak),
        progress=progress,
        generator=torch.Generator().manual_seed(seed),
    )


def test_a_host_is_a_frozen_settings_class_with_a_source(host):
    assert isinstance(host, Host)
    assert type(host).SOURCE
    assert 0 <= host.ema_decay < 1
    assert {row["name"] for row in HOSTS.describe()} == set(available())
    assert all(row["source"] and row["summary"] for row in HOSTS.describe())


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_every_term_is_finite_and_reaches_the_student(host, progress):
    step = _step(progress)
    terms = host.terms(step)
    assert "supervised" in terms
    assert (len(terms) > 1) == host.unlabeled
    for name, term in terms.items():
        assert torch.isfinite(term), name
        assert term > 0, name
        gradients = torch.autograd.grad(
            term, list(step.student.parameters()), retain_graph=True, allow_unused=True
        )
        assert sum(g.abs().sum() for g in gradients if g is not None) > 0, name


def test_the_teacher_is_neither_changed_nor_given_gradients(host):
    step = _step()
    before = {k: v.clone() for k, v in step.teacher.module.state_dict().items()}
    sum(host.terms(step).values()).backward()
    for name, value in step.teacher.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in step.teacher.module.parameters())


def test_labeled_and_unlabeled_crops_never_share_a_pass(host):
    step = _step(labeled=1, unlabeled=2)
    host.terms(step)
    assert set(step.student.batches) <= {1, 2}


def test_supervised_term_ignores_what_the_unlabeled_crops_are(host):
    plain, other = _step(seed=1), _step(seed=1)
    other.weak.mul_(7).add_(3)
    other.strong.mul_(7).add_(3)
    assert host.terms(plain)["supervised"] == host.terms(other)["supervised"]


def test_without_unlabeled_crops_only_the_supervised_term_is_left(host):
    step = _step(unlabeled=0)
    terms = host.terms(step)
    assert set(terms) == {"supervised"}
    expected = segmentation_loss(step.student.net(step.image), step.mask)
    assert terms["supervised"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_batch_with_nothing_annotated_is_finite(host):
    terms = host.terms(_step(ignored=True))
    assert terms["supervised"].item() == 0
    assert all(torch.isfinite(term) for term in terms.values())


def test_the_generator_is_the_only_source_of_randomness(host):
    first, again = host.terms(_step(seed=3)), host.terms(_step(seed=3))
    assert {k: v.item() for k, v in first.items()} == {k: v.item() for k, v in again.items()}


def test_order_of_the_unlabeled_crops_does_not_matter_without_noise(host):
    if not host.unlabeled:
        return
    values = {"noise": 0.0} if hasattr(host, "noise") else {}
    quiet = type(host)(**values)
    step, turned = _step(seed=4), _step(seed=4)
    turned.weak.copy_(step.weak.flip(0))
    turned.strong.copy_(step.strong.flip(0))
    for name, term in quiet.terms(step).items():
        assert term.item() == pytest.approx(quiet.terms(turned)[name].item(), rel=1e-4)


def test_mean_teacher_consistency_by_numpy():
    step = _step(progress=0.5)
    terms = MeanTeacher(weight=0.3, ramp=1.0, noise=0.0).terms(step)
    student = torch.softmax(step.student.net(step.weak), 1).detach().numpy()
    teacher = torch.softmax(step.teacher(step.weak), 1).numpy()
    # 0.3 exp(-5 (1 - 0.5)^2) times the mean of squares
    expected = 0.3 * 0.28650479 * ((student - teacher) ** 2).mean()
    assert terms["consistency"].item() == pytest.approx(expected, rel=1e-4)


def test_mean_teacher_noise_is_clipped_and_goes_to_the_teacher_only():
    step = _step()
    seen = {}

    def teacher(image):
        seen["teacher"] = image
        return step.teacher(image)

    def student(image):
        seen.setdefault("student", []).append(image)
        return step.student.net(image)

    watched = Step(**{**vars(step), "teacher": teacher, "student": Lambda(student)})
    MeanTeacher().terms(watched)
    noise = (seen["teacher"] - step.weak).abs()
    assert 0.15 < noise.max() <= 0.2 + 1e-6
    assert any(image is step.weak for image in seen["student"])


def test_mean_teacher_on_all_crops_weighs_every_crop_alike():
    step = _step(labeled=2, unlabeled=2)
    quiet = {"weight": 1.0, "ramp": 0.0, "noise": 0.0}
    both = MeanTeacher(consistency="all", **quiet).terms(step)["consistency"]
    one = MeanTeacher(**quiet).terms(step)["consistency"]
    labeled = MeanTeacher(**quiet).terms(Step(**{**vars(step), "weak": step.image}))["consistency"]
    assert both.item() == pytest.approx((one.item() + labeled.item()) / 2, rel=1e-4)


class Lambda(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, image):
        return self.function(image)
