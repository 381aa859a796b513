"""SAM3 asked by boxes: what transformers' own forward gives, on slices of any size."""

import copy
import importlib
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from salearn.errors import ConfigError, DataError
from salearn.models.interactive.boxes import BoxSam
from salearn.models.interactive.roi import roi_align
from salearn.models.sam3 import Sam, SamSettings, load_sam
from salearn.prompts.geometry import Box, Click, Prompt, Prompted

# Not by `from ... import`: that asks transformers' lazy package, which wants torchvision.
modeling_sam3 = importlib.import_module("transformers.models.sam3.modeling_sam3")
PROMPTS = ("anterior part", "posterior part")


@pytest.fixture(scope="module")
def sam() -> Sam:
    return load_sam(SamSettings(resolution=64), PROMPTS)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, (1, 35, 50)).astype(np.float32) for _ in range(2)]


def test_it_is_the_forward_of_transformers_with_boxes(
    sam: Sam, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = BoxSam(sam)
    pixels = torch.rand(2, 3, 64, 64) * 2 - 1
    edges = torch.tensor([[[0.1, 0.2, 0.6, 0.9], [0.5, 0.1, 0.9, 0.3]]]).repeat(2, 1, 1)
    shim = SimpleNamespace(ops=SimpleNamespace(roi_align=roi_align))
    monkeypatch.setattr(modeling_sam3, "torchvision", shim, raising=False)
    corner, far = edges[..., :2], edges[..., 2:]
    with torch.no_grad():
        expected = sam.model(
            pixel_values=pixels,
            text_embeds=SimpleNamespace(pooler_output=sam.prompt_embeddings[1:2].repeat(2, 1, 1)),
            attention_mask=sam.prompt_mask[1:2].repeat(2, 1),
            input_boxes=torch.cat([(corner + far) / 2, far - corner], dim=-1),
        )
        found = ours.logits(sam.model.vision_encoder(pixels), 1, edges)
        text = ours.logits(sam.model.vision_encoder(pixels), 1, None)
        alone = sam(pixels)[:, 1]
    assert torch.equal(found, expected.semantic_seg[:, 0])
    assert not torch.equal(found, text)
    resized = torch.nn.functional.interpolate(text[:, None], (64, 64), mode="bilinear")[:, 0]
    torch.testing.assert_close(resized, alone, atol=1e-5, rtol=1e-5)


def test_a_box_changes_the_answer_on_the_grid_of_the_slice(
    sam: Sam, images: list[np.ndarray]
) -> None:
    model = BoxSam(sam)
    assert isinstance(model, Prompted)
    view = model.see(images)[1]
    plain, boxed = (
        view.segment(Prompt(label=2, boxes=boxes)) for boxes in ((), (Box(3, 4, 20, 30),))
    )
    assert plain.shape == boxed.shape == (35, 50)
    assert np.isfinite(boxed).all()
    assert np.abs(plain - boxed).max() > 1e-4
    alone = BoxSam(sam).see(images[1:])[0].segment(Prompt(label=2))
    np.testing.assert_allclose(plain, alone, atol=1e-4)


def test_gradients_reach_the_geometry_encoder(sam: Sam) -> None:
    trained = copy.deepcopy(sam)
    trained.model.geometry_encoder.requires_grad_(True)
    vision = trained.model.vision_encoder(torch.rand(1, 3, 64, 64))
    BoxSam(trained).logits(vision, 0, torch.tensor([[[0.1, 0.2, 0.6, 0.9]]])).sum().backward()
    gradient = trained.model.geometry_encoder.boxes_pool_project.weight.grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


def test_several_texts_of_a_class_are_averaged(sam: Sam, images: list[np.ndarray]) -> None:
    def p(logits: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-logits)))

    single = BoxSam(sam).see(images[:1])[0]
    both = BoxSam(sam, rows=[[0, 1]]).see(images[:1])[0].segment(Prompt(label=1))
    each = [single.segment(Prompt(label=label)) for label in (1, 2)]
    # Averaged before the answer is resized, so equal up to what interpolation makes of it.
    np.testing.assert_allclose(p(both), (p(each[0]) + p(each[1])) / 2, atol=0.05)


def test_errors_name_what_is_wrong(sam: Sam, images: list[np.ndarray]) -> None:
    model = BoxSam(sam)
    view = model.see(images[:1])[0]
    with pytest.raises(ConfigError, match="class 3 has no text prompt"):
        view.segment(Prompt(label=3))
    with pytest.raises(ConfigError, match="clicks go to its tracker"):
        view.segment(Prompt(label=1, clicks=(Click(1, 1),)))
    with pytest.raises(DataError, match=r"several sizes.*32 x 50, 35 x 50"):
        model.see([images[0], images[1][:, :32]])
