import pytest
import torch

from salearn.errors import DataError
from salearn.models.pretexts.drift import drift, linear_cka, relative_l2
from salearn.models.pretexts.trunk import trunk_parameters
from salearn.models.sam3 import SamSettings, load_sam


def normal(rows, columns, seed):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def test_cka_of_features_with_themselves_is_1():
    x = normal(200, 8, 0)
    assert linear_cka(x, x) == pytest.approx(1, abs=1e-9)
    assert linear_cka(x, 3 * x + 5) == pytest.approx(1, abs=1e-6)


def test_cka_does_not_see_a_rotation():
    x = normal(200, 8, 0)
    turn = torch.linalg.qr(normal(8, 8, 1)).Q
    assert linear_cka(x, x @ turn) == pytest.approx(1, abs=1e-6)


def test_cka_of_independent_features_is_near_0():
    found = linear_cka(normal(5000, 8, 0), normal(5000, 8, 1))
    assert found == pytest.approx(8 / 5000, abs=2e-3)  # d / r by chance


def test_cka_by_hand():
    """Centred columns: x = (1, 0, -1), y = (1, -2, 1) gives 0; with z = (2, -1, -1) 3/4."""
    x, y, z = (torch.tensor(v)[:, None] for v in ([1.0, 0, -1], [1.0, -2, 1], [2.0, -1, -1]))
    assert linear_cka(x, y) == pytest.approx(0)
    assert linear_cka(x, z) == pytest.approx(3**2 / (2 * 6))  # (x'z)^2 / (x'x z'z)


def test_relative_l2_by_hand():
    assert relative_l2(torch.tensor([[3.0, 4.0]]), torch.tensor([[3.0, 5.0]])) == pytest.approx(0.2)


def test_features_that_are_all_alike_are_refused():
    with pytest.raises(DataError, match="the same everywhere"):
        linear_cka(torch.ones(5, 2), normal(5, 2, 0))


def test_a_trunk_has_not_drifted_from_itself_and_noise_shows_block_by_block():
    sam = load_sam(SamSettings(weights="tiny", resolution=32), ("one",))
    pictures = normal(3, 3 * 32 * 32, 0).view(3, 3, 32, 32).clamp(-1, 1)
    pictures[2] = -1  # shows nothing: left out
    same = drift(sam, sam.twin(), pictures)
    assert (same["images"], same["tokens"], same["relative_l2"]) == (2, 32, 0)
    assert same["cka"] == pytest.approx(1)
    other = load_sam(SamSettings(weights="tiny", resolution=32), ("one",))
    name = "vision_encoder.backbone.layers.2.mlp.fc2.weight"
    with torch.no_grad():
        trunk_parameters(other)[name].mul_(2)
    found = drift(sam, other, pictures)
    assert found["relative_l2_by_block"][:2] == [0, 0]
    assert min(found["relative_l2_by_block"][2:]) > 0.01
    assert found["relative_l2"] == found["relative_l2_by_block"][-1]
    with pytest.raises(DataError, match="no held-out picture"):
        drift(sam, other, pictures[2:])
