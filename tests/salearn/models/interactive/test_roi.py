"""roi_align against loops over every sample, and its place in SAM3's geometry encoder."""

import importlib
import importlib.util
import math

import numpy as np
import pytest
import torch

from salearn.errors import WeightsError
from salearn.models.interactive.roi import roi_align, without_torchvision

# Not by `from ... import`: that asks transformers' lazy package, which wants torchvision.
modeling_sam3 = importlib.import_module("transformers.models.sam3.modeling_sam3")
absent = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is not None, reason="torchvision itself is there"
)


def bilinear(plane: np.ndarray, y: float, x: float) -> float:
    """Up to one pixel outside the border holds; farther out is 0."""
    height, width = plane.shape
    if y < -1 or y > height or x < -1 or x > width:
        return 0.0
    y, x = min(max(y, 0.0), height - 1.0), min(max(x, 0.0), width - 1.0)
    top, left = math.floor(y), math.floor(x)
    down, right = min(top + 1, height - 1), min(left + 1, width - 1)
    a, b = y - top, x - left
    upper = plane[top, left] * (1 - b) + plane[top, right] * b
    lower = plane[down, left] * (1 - b) + plane[down, right] * b
    return float(upper * (1 - a) + lower * a)


def by_loops(
    image: np.ndarray, box: list[float], bins: int, scale: float, ratio: int, aligned: bool
) -> np.ndarray:
    """Every bin the mean of its samples, one at a time."""
    shift = 0.5 if aligned else 0.0
    left, top, right, bottom = (side * scale - shift for side in box)
    height, width = bottom - top, right - left
    if not aligned:
        height, width = max(height, 1.0), max(width, 1.0)
    down = ratio if ratio > 0 else max(1, math.ceil(height / bins))
    across = ratio if ratio > 0 else max(1, math.ceil(width / bins))
    found = np.zeros((len(image), bins, bins))
    for channel, plane in enumerate(image):
        for i in range(bins):
            for j in range(bins):
                found[channel, i, j] = np.mean([
                    bilinear(
                        plane,
                        top + (i + (k + 0.5) / down) * height / bins,
                        left + (j + (m + 0.5) / across) * width / bins,
                    )
                    for k in range(down) for m in range(across)
                ])  # fmt: skip
    return found


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 2])
def test_it_equals_loops_over_every_sample(aligned: bool, ratio: int) -> None:
    features = torch.randn(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    # Inside, between pixels, smaller than a pixel, over the border, and far outside of it.
    boxes = [[1.0, 1.0, 7.0, 5.0], [2.3, 0.4, 3.1, 5.9], [4.2, 3.3, 4.5, 3.4],
             [-3.0, -2.0, 4.0, 3.0], [6.0, 3.0, 14.0, 11.0]]  # fmt: skip
    given = [torch.tensor(boxes), torch.tensor(boxes[:2])]
    found = roi_align(features, given, 3, 0.9, ratio, aligned)
    assert found.shape == (7, 3, 3, 3)
    pairs = [(0, box) for box in boxes] + [(1, box) for box in boxes[:2]]
    for value, (image, box) in zip(found, pairs, strict=True):
        expected = by_loops(features[image].double().numpy(), box, 3, 0.9, ratio, aligned)
        np.testing.assert_allclose(value.numpy(), expected, atol=1e-5)


def test_a_bin_of_one_pixel_by_hand() -> None:
    # Pixels hold 10 r + c. Box (1, 2)-(3, 4), two bins a side, one sample each, in the middle of
    # bins of one pixel: rows 2.5, 3.5 and columns 1.5, 2.5: 25 + 1.5 = 26.5, 27.5, 36.5, 37.5.
    plane = 10.0 * torch.arange(6)[:, None] + torch.arange(6)
    found = roi_align(plane[None, None], [torch.tensor([[1.0, 2.0, 3.0, 4.0]])], 2)
    assert found[0, 0].tolist() == [[26.5, 27.5], [36.5, 37.5]]


def test_no_box_gives_no_rows_and_gradients_reach_the_features() -> None:
    features = torch.randn(1, 2, 4, 4, requires_grad=True)
    assert roi_align(features, [torch.zeros(0, 4)], (2, 3)).shape == (0, 2, 2, 3)
    roi_align(features, [torch.tensor([[0.0, 0.0, 3.0, 3.0]])], (2, 3)).sum().backward()
    assert features.grad is not None
    assert features.grad.abs().sum() > 0


@absent
def test_boxes_work_without_torchvision_and_nothing_else_is_changed() -> None:
    from salearn.models.sam3_tiny import SamSize, tiny_config

    config = tiny_config(SamSize(resolution=32)).geometry_encoder_config
    config._attn_implementation = "sdpa"
    encoder = modeling_sam3.Sam3GeometryEncoder(config).eval()
    maps, before = torch.randn(1, 32, 4, 4), dict(vars(modeling_sam3))
    given = {
        "box_embeddings": torch.tensor([[[0.5, 0.5, 0.5, 0.4]]]),
        "box_mask": torch.ones(1, 1, dtype=torch.bool),
        "box_labels": torch.ones(1, 1, dtype=torch.long),
        "img_feats": (maps,), "img_pos_embeds": (torch.zeros_like(maps),),
    }  # fmt: skip
    ours = without_torchvision(encoder)
    found = ours(**given).last_hidden_state
    assert torch.isfinite(found).all()
    assert ours.layers is encoder.layers
    assert vars(modeling_sam3).keys() == before.keys()
    assert "_encode_boxes" not in vars(encoder)
    with pytest.raises(NameError, match="torchvision"):
        encoder(**given)


@absent
def test_another_transformers_is_refused_with_the_remedy() -> None:
    with pytest.raises(WeightsError, match="torchvision that belongs to this torch"):
        without_torchvision(torch.nn.Linear(1, 1))
