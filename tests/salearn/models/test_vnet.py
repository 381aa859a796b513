import pytest
import torch

from salearn.models.vnet import VNet, VNetSettings


@pytest.mark.parametrize(("classes", "count"), [(2, 9_448_866), (9, 9_448_985), (14, 9_449_070)])
def test_parameters_at_the_papers_setting(classes, count):
    net = VNet(1, classes, VNetSettings(width=16, depth=4, activation="relu"))
    assert sum(p.numel() for p in net.parameters()) == count


def test_convolutions_of_each_stage_as_published():
    net = VNet(1, 2, VNetSettings())
    count = [sum(isinstance(m, torch.nn.Conv3d) for m in block) for block in net.encoder]
    assert count == [1, 2, 3, 3]
    assert sum(isinstance(m, torch.nn.Conv3d) for m in net.bottleneck) == 3
    assert [sum(isinstance(m, torch.nn.Conv3d) for m in b) for b in net.decoder] == count


@pytest.mark.parametrize("norm", ["batch", "instance", "group", "none"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "prelu"])
def test_every_norm_and_activation_gives_logits_on_the_grid(norm, activation):
    net = VNet(2, 4, VNetSettings(width=2, depth=2, norm=norm, activation=activation, dropout=0.5))
    logits = net(torch.randn(2, 2, 8, 12, 16))
    logits.square().mean().backward()
    assert logits.shape == (2, 4, 8, 12, 16)
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_channels_last_gives_the_same_numbers():
    torch.manual_seed(0)
    plain = VNet(1, 3, VNetSettings(width=4, depth=2, channels_last=False))
    fast = VNet(1, 3, VNetSettings(width=4, depth=2, channels_last=True))
    fast.load_state_dict(plain.state_dict())
    image = torch.randn(2, 1, 8, 12, 8)
    assert torch.allclose(plain(image), fast(image), atol=1e-5)


def test_leaky_slope_is_the_one_that_keeps_classes_alive():
    net = VNet(1, 2, VNetSettings(width=2, depth=1))
    slopes = {m.negative_slope for m in net.modules() if isinstance(m, torch.nn.LeakyReLU)}
    assert slopes == {0.2}


def test_dropout_acts_in_training_only():
    torch.manual_seed(0)
    net = VNet(1, 2, VNetSettings(width=4, depth=1, dropout=0.5))
    image = torch.randn(2, 1, 4, 4, 4)
    assert not torch.equal(net(image), net(image))
    net.eval()
    assert torch.equal(net(image), net(image))


def test_sides_that_do_not_divide_are_refused():
    net = VNet(1, 2, VNetSettings(width=2, depth=3))
    with pytest.raises(ValueError, match=r"\(8, 12, 8\) must be divisible by 8"):
        net(torch.zeros(2, 1, 8, 12, 8))
