"""The V-Net for pictures is 2-D: slices do not see each other, and sides are divided in plane."""

import numpy as np
import pytest
import torch

from loops.learning.student_settings import StudentSettings
from loops.student import Student
from salearn.cases import CaseId
from salearn.data.augment import AugmentSettings, random_grid, warp, warp_mask
from salearn.data.patches import CropSampler, Example
from salearn.errors import ConfigError
from salearn.models.vnet import VNet, VNetSettings
from salearn.settings import parse

FLAT = StudentSettings(width=2, depth=2, patch=(8, 12, 1))


def test_slices_of_a_flat_net_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    net = VNet(1, 2, FLAT.net).eval()
    image = torch.randn(2, 1, 8, 12, 3)
    together = net(image)
    alone = torch.cat([net(image[..., k : k + 1]) for k in range(3)], dim=4)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-6)


def test_a_flat_net_equals_its_2d_convolutions() -> None:
    torch.manual_seed(0)
    net = VNet(1, 2, VNetSettings(width=2, depth=1, flat=True, norm="none")).eval()
    first = net.encoder[0][0]
    image = torch.randn(1, 1, 6, 6, 1)
    plain = torch.nn.functional.conv2d(image[..., 0], first.weight[..., 0], first.bias, padding=1)
    torch.testing.assert_close(first(image)[..., 0], plain, rtol=1e-5, atol=1e-6)
    deep = VNet(1, 2, VNetSettings(width=2, depth=1, norm="none"))
    count = sum(p.numel() for p in net.parameters() if p.ndim == 5 and p.shape[-1] == 1)
    assert count < sum(p.numel() for p in deep.parameters())
    with pytest.raises(ValueError, match="divisible by 2"):
        net(torch.zeros(1, 1, 5, 6, 1))


def test_pictures_of_several_sizes_are_predicted_at_their_size() -> None:
    student = Student(VNet(1, 2, FLAT.net), FLAT)
    sizes = [(9, 13, 1), (8, 12, 1), (17, 5, 1)]
    rng = np.random.default_rng(0)
    volumes = [rng.normal(size=(1, *size)).astype(np.float32) for size in sizes]
    found = list(student.predict(volumes))
    assert [p.shape for p in found] == [(2, *size) for size in sizes]
    again = next(iter(student.predict(volumes[2:])))
    np.testing.assert_allclose(found[2], again, atol=1e-5)


def test_the_patch_of_a_flat_student_is_divided_in_plane_only() -> None:
    assert FLAT.flat
    with pytest.raises(ConfigError, match="divisible by 4"):
        parse(StudentSettings, {"width": 2, "depth": 2, "patch": [8, 10, 1]}, "student")


def test_crops_and_augmentation_of_pictures_stay_in_the_plane() -> None:
    mask = np.ones((20, 24, 1), np.uint8)
    image = np.arange(480, dtype=np.float32).reshape(1, 20, 24, 1)
    sampler = CropSampler([Example(case_id=CaseId("a"), image=image, mask=mask)], (8, 8, 1), 4)
    generator = torch.Generator().manual_seed(0)
    crops = sampler.draw(2, generator)
    assert crops.image.shape == (2, 1, 16, 16, 1)
    how = AugmentSettings(rotation=(80, 80, 20), shift=2.0)
    grid = random_grid(2, (16, 16, 1), (8, 8, 1), how, generator)
    assert grid is not None
    assert grid[..., 0].abs().max() == 0  # the last axis comes first in a grid
    assert (warp_mask(torch.ones(2, 16, 16, 1, dtype=torch.long), grid) == 1).all()
    assert torch.isfinite(warp(crops.image, grid)).all()
