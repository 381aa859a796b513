import pytest
import torch

from salearn.errors import WeightsError
from salearn.models.checkpoint import (
    load_state,
    load_weights,
    rng_state,
    save_state,
    save_weights,
    set_rng_state,
)
from salearn.models.vnet import VNet, VNetSettings

SMALL = VNetSettings(width=2, depth=1)


def test_weights_come_back_bit_for_bit(tmp_path):
    net, other = VNet(1, 2, SMALL), VNet(1, 2, SMALL)
    save_weights(net, tmp_path / "w.safetensors")
    load_weights(other, tmp_path / "w.safetensors")
    for name, value in net.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_broken_foreign_and_missing_weights_are_refused_by_name(tmp_path):
    path = tmp_path / "w.safetensors"
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        load_weights(VNet(1, 2, SMALL), path)
    save_weights(VNet(1, 3, SMALL), path)
    with pytest.raises(WeightsError, match=r"w\.safetensors.*another network"):
        load_weights(VNet(1, 2, SMALL), path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        load_weights(VNet(1, 3, SMALL), path)


def test_no_state_is_none_and_a_state_comes_back(tmp_path):
    assert load_state(tmp_path / "_checkpoint.pt") is None
    save_state(tmp_path / "_checkpoint.pt", {"iteration": 3, "w": torch.arange(3)})
    state = load_state(tmp_path / "_checkpoint.pt")
    assert state["iteration"] == 3
    assert state["w"].tolist() == [0, 1, 2]


def test_generators_continue_where_they_were():
    named = {"a": torch.Generator().manual_seed(1)}
    with torch.random.fork_rng(devices=[]):
        torch.rand(3)
        states = rng_state(named)
        first = torch.rand(2), torch.rand(2, generator=named["a"])
        set_rng_state(named, states)
        again = torch.rand(2), torch.rand(2, generator=named["a"])
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
