import pytest
import torch

from salearn.models.heads import Critic, Locator, SideHead, distance_head
from salearn.models.slicenet import SliceNet
from salearn.models.vnet import Decoder, VNet, VNetSettings


@pytest.mark.parametrize("rise", ["transposed", "linear", "nearest"])
def test_a_decoder_of_its_own_reads_the_features_of_the_v_net(rise):
    torch.manual_seed(0)
    shape = VNetSettings(width=2, depth=2)
    net, other = VNet(1, 3, shape), Decoder(3, shape, rise)
    encoded = net.encode(torch.randn(2, 1, 8, 8, 12))
    assert other(encoded).shape == (2, 3, 8, 8, 12)
    if rise == "transposed":
        names = other.state_dict().keys()
        other.load_state_dict({name: net.state_dict()[name] for name in names})
        net.eval(), other.eval()
        assert torch.equal(other(encoded), net.decode(encoded).logits)


def test_a_trace_holds_every_level_and_the_logits_of_a_plain_pass():
    torch.manual_seed(0)
    net = VNet(1, 3, VNetSettings(width=2, depth=2)).eval()
    image = torch.randn(2, 1, 8, 8, 8)
    trace = net.trace(image)
    assert [tuple(x.shape[1:]) for x in trace.encoded] == [(2, 8, 8, 8), (4, 4, 4, 4), (8, 2, 2, 2)]
    assert [tuple(x.shape[1:]) for x in trace.decoded] == [(2, 8, 8, 8), (4, 4, 4, 4)]
    assert torch.equal(trace.logits, net(image))
    assert torch.equal(trace.logits, net.head(trace.decoded[0]))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_do_not_see_one_another(axis):
    torch.manual_seed(0)
    net = SliceNet(1, 3, width=2, depth=1, axis=axis).eval()
    image = torch.randn(2, 1, 4, 4, 4)
    other = image.clone()
    other.select(2 + axis, 1).add_(5)
    changed = (net(image) != net(other)).movedim(2 + axis, 0).flatten(1).any(1)
    assert changed.tolist() == [False, True, False, False]
    assert net(image).shape == (2, 3, 4, 4, 4)


def test_heads_give_what_they_say():
    torch.manual_seed(0)
    features = torch.randn(2, 4, 4, 6, 4)
    distance = distance_head(4, 3)(features)
    assert distance.shape == (2, 2, 4, 6, 4)
    assert distance.abs().max() <= 1
    assert SideHead(4, 3, 2, 0.1)(features).shape == (2, 3, 8, 12, 8)
    assert Locator(4, 27)(features).shape == (2, 27)
    for levels, side in ((1, 4), (3, 8), (4, 16)):
        critic = Critic(1, 2, 2, levels)
        assert critic(
            torch.randn(2, 2, side, side, side), torch.randn(2, 1, side, side, side)
        ).shape == (2, 2)
