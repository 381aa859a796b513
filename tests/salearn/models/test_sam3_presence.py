"""Presence: the logit is that of the whole model, it is trained, it gates, and off is as before."""

from types import SimpleNamespace

import pytest
import torch

from salearn.models.adapted import load_adapted, save_adapted
from salearn.models.arms.registry import build
from salearn.models.lora import trainable
from salearn.models.sam3 import SamSettings, class_probabilities, load_sam, sam_key
from salearn.models.sam3_presence import gated

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=32, presence="train"), ("a", "b"))


def test_the_logit_is_that_of_the_whole_model_and_masks_stay_as_they_are(sam):
    with torch.no_grad():
        logits, presence = sam.answer(IMAGES, presence=True)
        assert torch.equal(logits, sam.answer(IMAGES, presence=False)[0])
        assert torch.equal(logits, sam(IMAGES))  # "train" gates nothing
        for k in range(2):
            text = SimpleNamespace(pooler_output=sam.prompt_embeddings[k : k + 1].repeat(2, 1, 1))
            mask = sam.prompt_mask[k : k + 1].repeat(2, 1)
            whole = sam.model(pixel_values=IMAGES, text_embeds=text, attention_mask=mask)
            assert torch.allclose(whole.presence_logits[:, 0], presence[:, k], atol=1e-6)


def test_a_gate_multiplies_probabilities():
    logits = torch.tensor([[[0.0, 3.0, -40.0]]])
    presence = torch.tensor([[-1.0]])
    expected = torch.sigmoid(logits) * torch.sigmoid(presence)
    assert torch.allclose(torch.sigmoid(gated(logits, presence)), expected)
    assert torch.allclose(class_probabilities(gated(logits, presence))[:, 1], expected[:, 0])
    assert gated(logits, presence)[0, 0, 2] == pytest.approx(-40 - 1.3133, abs=1e-3)  # no -inf
    gate = load_sam(SamSettings(weights="tiny", resolution=32, presence="gate"), ("a",))
    with torch.no_grad():
        masks, there = gate.answer(IMAGES, presence=True)
        product = torch.sigmoid(masks) * torch.sigmoid(there)[:, :, None, None]
        assert torch.allclose(torch.sigmoid(gate(IMAGES)), product, atol=1e-6)


@pytest.mark.parametrize("name", ["head", "lora", "full"])
def test_every_arm_trains_presence_and_its_gradient_arrives(sam, name, tmp_path):
    made = build(name).adapt(sam, 0).train()
    heads = {n: p for n, p in trainable(made).items() if ".presence_" in n}
    assert len(heads) == 9  # token, three layers and a norm of two tensors each
    made.answer(IMAGES, presence=True)[1].square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in heads.values())
    layers = [p for n, p in trainable(made).items() if "detr_decoder.layers" in n]
    assert bool(layers) == (name == "full")
    assert all(p.grad is not None for p in layers)
    with torch.no_grad():
        for parameter in heads.values():
            parameter.add_(0.1)
    save_adapted(made, tmp_path)
    again = load_adapted(sam, tmp_path)
    with torch.no_grad():
        first, second = (m.eval().answer(IMAGES, presence=True)[1] for m in (made, again))
        assert torch.equal(first, second)
        assert not torch.equal(first, sam.answer(IMAGES, presence=True)[1])


def test_off_changes_no_key_and_trains_no_presence():
    off = SamSettings(weights="tiny", resolution=32)
    assert sam_key(off) != sam_key(SamSettings(weights="tiny", resolution=32, presence="train"))
    plain = load_sam(off, ("a",))
    assert not [n for n in trainable(build("head").adapt(plain, 0)) if "presence" in n]
