import copy

import torch

from salearn.models.ema import Ema
from salearn.models.vnet import VNet, VNetSettings


def _net(seed=0):
    torch.manual_seed(seed)
    return VNet(1, 2, VNetSettings(width=2, depth=1))


def _disturb(net, seed):
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for value in net.state_dict().values():
            if value.is_floating_point():
                value += torch.rand(value.shape, generator=generator)
            else:
                value += 1


def test_ema_equals_the_loop_over_names():
    student = _net()
    ema = Ema(student, 0.6)
    expected = {name: value.clone() for name, value in student.state_dict().items()}
    for t in range(6):
        _disturb(student, t)
        ema.update(student)
        a = min(1 - 1 / (t + 1), 0.6)
        for name, value in student.state_dict().items():
            mean = a * expected[name] + (1 - a) * value
            expected[name] = mean if value.is_floating_point() else value.clone()
    for name, value in ema.module.state_dict().items():
        assert torch.allclose(value, expected[name], atol=1e-6), name


def test_first_update_is_a_copy_buffers_included():
    student = _net()
    ema = Ema(student, 0.99)
    _disturb(student, 3)
    ema.update(student)
    for name, value in ema.module.state_dict().items():
        assert torch.equal(value, student.state_dict()[name]), name


def test_constant_weights_stay_constant():
    student = _net()
    ema = Ema(student, 0.9)
    for _ in range(4):
        ema.update(student)
    for name, value in ema.module.state_dict().items():
        assert torch.allclose(value, student.state_dict()[name]), name


def test_a_pass_gives_no_gradient_and_leaves_the_buffers_alone():
    student = _net()
    ema = Ema(student, 0.9)
    before = {
        name: value.clone()
        for name, value in ema.module.state_dict().items()
        if value.is_floating_point()
    }
    image = torch.randn(2, 1, 4, 4, 4)
    logits = ema(image)
    assert not logits.requires_grad
    # Batch statistics as the student's in training, so the same weights give the same logits.
    assert torch.allclose(logits, student.train()(image))
    for name, value in before.items():
        assert torch.equal(value, ema.module.state_dict()[name]), name


def test_teacher_can_be_used_in_eval_mode():
    student = _net().train()
    ema = Ema(student, 0.5)
    for _ in range(30):
        student(3 + 2 * torch.randn(2, 1, 8, 8, 8))  # moves the running statistics
        ema.update(student)
    image = 3 + 2 * torch.randn(2, 1, 8, 8, 8)
    twin = copy.deepcopy(ema.module).eval()
    difference = (twin(image) - student.eval()(image)).abs().mean().item()
    assert difference < 0.02  # logits have a spread of about 0.2


def test_state_continues_the_count():
    student = _net()
    ema = Ema(student, 0.9)
    for t in range(3):
        _disturb(student, t)
        ema.update(student)
    other = Ema(_net(5), 0.9)
    other.load_state_dict(ema.state_dict())
    _disturb(student, 9)
    ema.update(student)
    other.update(student)
    for name, value in ema.module.state_dict().items():
        assert torch.equal(value, other.module.state_dict()[name]), name
