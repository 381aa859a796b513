"""Costs counted without weights: parameters, FLOPs and memory against other ways to count them."""

import pytest
import torch

from salearn.models import cost
from salearn.models.arms.registry import build
from salearn.models.lora import trainable
from salearn.models.sam3 import SamSettings, load_sam

TINY = SamSettings(weights="tiny", resolution=64)


@pytest.fixture(scope="module")
def tiny():
    return cost.unloaded_sam(TINY, ("one", "two"))


def test_counts_without_weights_are_those_of_the_loaded_model(tiny):
    loaded = load_sam(TINY, ("one", "two"))
    counts = cost.parameters(tiny)
    assert (
        counts["all"]
        == loaded.base_parameters
        == sum(count for name, count in counts.items() if name != "all")
    )
    assert all(p.is_meta for p in tiny.parameters())
    arm = build("lora")
    found = cost.trainable_counts(tiny, arm)
    assert found["all"] == sum(p.numel() for p in trainable(arm.adapt(loaded, 0)).values())
    assert found["all"] == sum(count for name, count in found.items() if name != "all")


@pytest.mark.slow
def test_flops_grow_with_pixels_and_the_heads_with_prompts(tiny):
    one = cost.unloaded_sam(TINY, ("one",))
    small, two = cost.flops(one), cost.flops(tiny)
    assert two["vision"] == small["vision"]
    # Seen with every prompt; nothing of the heads is shared, so two cost twice as much.
    assert two["heads"] == pytest.approx(2 * small["heads"], rel=0.02)
    large = cost.flops(cost.unloaded_sam(SamSettings(weights="tiny", resolution=128), ("one",)))
    # Four times the tokens: windows and MLPs cost 4 times, global attention 16 times.
    assert 4 * small["vision"] < large["vision"] < 16 * small["vision"]
    assert small["train"] == 2 * small["forward"]


@pytest.mark.slow
def test_memory_of_a_step_adds_up_and_checkpointing_saves_activations(tiny):
    found = cost.step_memory(tiny, build("lora"), batch=2)
    count = cost.trainable_counts(tiny, build("lora"))["all"]
    assert found["gradients"] * cost.GIB == 4 * count
    assert found["optimiser"] * cost.GIB == 8 * count  # two moments of float32
    parts = sum(found[name] for name in ("weights", "gradients", "optimiser", "activations"))
    assert found["total"] == pytest.approx(parts)
    assert found["activations_checkpointed"] < found["activations"]
    one = cost.step_memory(tiny, build("lora"), batch=1)
    assert found["activations"] == pytest.approx(2 * one["activations"], rel=0.05)
    none = cost.step_memory(tiny, build("zero_shot"), batch=1)
    assert none["activations"] == none["gradients"] == 0
    heads = cost.step_memory(tiny, build("head"), batch=1)
    assert 0 < heads["activations"] < one["activations"]  # nothing of the ViT is kept


def test_what_autograd_keeps_is_counted_as_on_real_tensors(tiny):
    torch.manual_seed(0)
    real = build("lora").adapt(load_sam(TINY, ("one", "two")), 0).train()
    shapes = build("lora").adapt(tiny, 0).train()
    images = torch.rand(1, 3, 64, 64)
    counted = cost.kept_by(shapes, torch.empty(1, 3, 64, 64, device="meta"))
    assert counted == pytest.approx(cost.kept_by(real, images), rel=0.1)


@pytest.mark.slow
def test_the_full_model_costs_what_was_measured():
    sam = cost.unloaded_sam(SamSettings(weights="facebook/sam3", resolution=336), ("one",))
    assert cost.parameters(sam)["all"] == cost.FULL_SIZE
    found = cost.flops(sam)
    assert found["vision"] == pytest.approx(found["published_vision"], rel=0.02)
    # The semantic path runs neither DETR decoder nor instance masks, the published count does.
    assert 0.8 < found["heads"] / found["published_heads"] < 1
