"""Arms that adapt the last blocks of the vision trunk: exact counts, no gradient below them."""

import pytest
import torch

from salearn.errors import ConfigError
from salearn.models.adapted import describe_adapted, load_adapted, save_adapted
from salearn.models.arms.registry import build
from salearn.models.lora import trainable
from salearn.models.prefix import answer_behind, frozen_blocks, prefix
from salearn.models.sam3 import SamSettings, load_sam
from salearn.settings import dump, keyed

NAMES = ("lora", "lora_encoder", "adapter", "adapter_encoder", "full", "bitfit")
# One ViT block of width w = 1024 with an MLP of 4736: two norms, q k v o with bias, MLP with bias.
W, M = 1024, 4736
BLOCK = 2 * 2 * W + 4 * (W * W + W) + (W * M + M) + (M * W + W)
PER_BLOCK = {
    "lora": 4 * 8 * (W + W) + 2 * 8 * (W + M),
    "lora_encoder": 4 * 8 * (W + W) + 2 * 8 * (W + M),
    "adapter": 2 * (2 * W * (W // 4) + W // 4 + W),
    "adapter_encoder": 2 * (2 * W * (W // 4) + W // 4 + W),
    "full": BLOCK,
    "bitfit": 2 * 2 * W + 4 * W + M + W,
}


def images(seed=0):
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


@pytest.mark.slow
@pytest.mark.parametrize("last", [1, 8, 32])
@pytest.mark.parametrize("name", [n for n in NAMES if not n.endswith("_encoder")])
def test_counts_in_the_trunk_at_full_size(full_size, name, last):
    adapted = build(name, {"last": last}).adapt(full_size, 0)
    counts = describe_adapted(adapted)["trainable_by_component"]
    assert counts["vision_trunk"] == last * PER_BLOCK[name]
    assert frozen_blocks(adapted) == 32 - last


@pytest.mark.parametrize("name", NAMES)
def test_nothing_below_the_last_blocks_has_a_gradient(sam, name):
    adapted = build(name, {"last": 1}).adapt(sam, 0).train()
    asked = []
    for block in adapted.backbone.layers:
        block.register_forward_pre_hook(lambda _, args: asked.append(args[0].requires_grad))
    adapted(images()).square().mean().backward()
    assert asked == [False] * 4  # what enters the last block, too: backward stops there
    inside = [n for n, p in trainable(adapted).items() if "backbone." in n]
    assert inside
    assert all("layers.3." in n for n in inside)
    below = [p for b in adapted.backbone.layers[:3] for p in b.parameters()]
    assert all(p.grad is None for p in (*below, *adapted.backbone.embeddings.parameters()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "adapter", "full"])
def test_such_an_arm_comes_back_from_disk(sam, name, tmp_path):
    adapted = build(name, {"last": 2}).adapt(sam, 0)
    with torch.no_grad():
        for parameter in trainable(adapted).values():
            parameter.add_(0.01)
        save_adapted(adapted, tmp_path)
        again = load_adapted(sam, tmp_path)
        assert torch.equal(again(images()), adapted(images()))
        assert not torch.equal(again(images()), sam(images()))


@pytest.mark.parametrize(
    ("name", "values", "frozen"),
    [
        ("head", {}, 4),
        ("decoder", {}, 4),
        ("lora_decoder", {}, 4),
        ("adapter", {"last": 3}, 1),
        ("full", {"last": 4}, 0),
        ("full", {}, 0),
        ("lora", {}, 0),
        ("bitfit", {"last": 1}, 3),
    ],
)
def test_what_lies_behind_the_frozen_blocks_answers_as_the_whole(sam, name, values, frozen):
    adapted = build(name, values).adapt(sam, 0)
    expected = 0 if (name, values) == ("full", {}) else frozen
    assert frozen_blocks(adapted) == expected
    with torch.no_grad():
        whole = adapted.answer(images(), False)[0]
        hidden = prefix(adapted, images(), frozen)
        assert torch.equal(answer_behind(adapted, hidden, frozen, False)[0], whole)


def test_presence_is_answered_behind_frozen_blocks_too():
    sam = load_sam(
        SamSettings(weights="tiny", resolution=64, presence="train"), ("object", "other")
    )
    adapted = build("decoder").adapt(sam, 0)
    with torch.no_grad():
        logits, presence = adapted.answer(images(), True)
        found = answer_behind(adapted, prefix(adapted, images(), 4), 4, True)
    assert torch.equal(found[0], logits)
    assert torch.equal(found[1], presence)


def test_without_last_an_arm_is_written_as_it_was():
    for name in NAMES:
        assert "last" not in keyed(build(name))
        assert (
            keyed(build(name, {"last": 2}))["last"] == dump(build(name, {"last": 2}))["last"] == 2
        )


def test_impossible_numbers_of_blocks_are_refused(sam):
    for name in ("lora", "adapter", "full", "bitfit"):
        with pytest.raises(ConfigError, match=r"arm\.last: 5, but the vision trunk.*has 4 blocks"):
            build(name, {"last": 5}).adapt(sam, 0)
    with pytest.raises(ConfigError, match=r"last: Input should be greater"):
        build("lora", {"last": 0})
    with pytest.raises(ConfigError, match="last: unknown key"):
        build("lora_decoder", {"last": 1})
    with pytest.raises(ConfigError, match="adapt nothing in the vision trunk"):
        build("lora", {"last": 1, "targets": "detr_all"}).adapt(sam, 0)
    with pytest.raises(ConfigError, match="is no regular expression"):
        build("lora", {"last": 1, "targets": "("}).adapt(sam, 0)
