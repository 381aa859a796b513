"""Contracts of every arm: (i) a fresh one changes nothing, (ii) everything it trains learns,
(iii) LoRA merges, (iv) the frozen rest keeps its bits, (v) counts are the closed forms."""

import pytest
import torch

from salearn.errors import ConfigError, WeightsError
from salearn.models.adapted import describe_adapted, load_adapted, save_adapted
from salearn.models.arms.registry import ARMS, available, build
from salearn.models.components import COMPONENTS, SEMANTIC, component_of, count_by_component
from salearn.models.lora import trainable

NAMES = (
    "zero_shot",
    "head",
    "decoder",
    "full",
    "bitfit",
    "lora_encoder",
    "lora_decoder",
    "lora",
    "adapter_encoder",
    "adapter_decoder",
    "adapter",
)
# Inside modules that are trained in full, what the semantic path does not run.
UNUSED = ("mask_embedder", "instance_projection", "fpn_layers.3", "conv_layers.2", "norms.2")


def images(seed=0):
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def trained(sam, name, steps=3):
    adapted = build(name).adapt(sam, 3).train()
    if not trainable(adapted):
        return adapted.eval()
    optimizer = torch.optim.SGD(trainable(adapted).values(), lr=0.05)
    for step in range(steps):
        optimizer.zero_grad()
        adapted(images(step)).square().mean().backward()
        optimizer.step()
    return adapted.eval()


def test_the_arms_of_the_study_are_there():
    assert set(NAMES) <= set(available())


def test_every_arm_has_three_learning_rates():
    assert {len(ARMS.cls(name).RATES) for name in available()} == {3}


@pytest.mark.parametrize("name", NAMES)
def test_a_fresh_arm_changes_no_bit(sam, name):
    with torch.no_grad():
        assert torch.equal(build(name).adapt(sam, 0)(images()), sam(images()))


@pytest.mark.parametrize("name", NAMES)
def test_all_that_an_arm_trains_gets_a_gradient_and_the_rest_keeps_its_bits(sam, name):
    before = {n: p.clone() for n, p in sam.model.named_parameters()}
    adapted = trained(sam, name)
    silent = [n for n, p in trainable(adapted).items() if p.grad is None or not p.grad.any()]
    assert [n for n in silent if not any(part in n for part in UNUSED)] == []
    assert all(p.grad is None for p in adapted.parameters() if not p.requires_grad)
    assert all(torch.equal(p, before[n]) for n, p in sam.model.named_parameters())
    assert not any(p.requires_grad for p in sam.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_an_arm_comes_back_from_disk_bit_for_bit(sam, name, tmp_path):
    adapted = trained(sam, name)
    save_adapted(adapted, tmp_path)
    again = load_adapted(sam, tmp_path)
    with torch.no_grad():
        assert torch.equal(again(images(9)), adapted(images(9)))
        assert torch.equal(again(images(9)), sam(images(9))) == (name == "zero_shot")
    assert not any(p.requires_grad for p in again.parameters())


# The arm of the row trains nothing outside these components.
@pytest.mark.parametrize(
    ("name", "components"),
    [
        ("zero_shot", set()),
        ("head", {"neck", "seg_head"}),
        ("decoder", {"neck", "fusion_encoder", "seg_head"}),
        ("full", set(SEMANTIC)),
        ("bitfit", set(SEMANTIC)),
        ("lora_encoder", {"vision_trunk", "neck", "seg_head"}),
        ("lora_decoder", {"fusion_encoder", "neck", "seg_head"}),
        ("lora", set(SEMANTIC)),
        ("adapter_encoder", {"vision_trunk", "neck", "seg_head"}),
        ("adapter_decoder", {"fusion_encoder", "neck", "seg_head"}),
        ("adapter", set(SEMANTIC)),
    ],
)
def test_an_arm_trains_in_its_components_only(sam, name, components):
    assert set(describe_adapted(build(name).adapt(sam, 0))["trainable_by_component"]) == components


def test_every_parameter_of_sam3_is_in_exactly_one_component(full_size):
    counts = count_by_component(full_size.model.named_parameters())
    assert sum(counts.values()) == sum(p.numel() for p in full_size.model.parameters())
    assert set(counts) == set(COMPONENTS)
    assert component_of("detr_decoder.presence_head.layer1.weight") == "presence"
    assert component_of("detr_decoder.layers.0.mlp.fc1.weight") == "decoder"


def test_a_parameter_without_component_is_refused():
    with pytest.raises(WeightsError, match=r"'surprise\.weight' belongs to no known component"):
        component_of("surprise.weight")


# r (in + out): ViT 32 blocks of width 1024, MLP 4736; fusion encoder 6 layers of 256, MLP 2048:
# 8 attention projections (self and cross) and two MLP layers each.
VIT = 32 * (4 * 8 * 2048 + 2 * 8 * 5760)
DETR = 6 * (8 * 8 * 512 + 2 * 8 * 2304)


@pytest.mark.parametrize(
    ("name", "count"), [("lora_encoder", VIT), ("lora_decoder", DETR), ("lora", VIT + DETR)]
)
def test_lora_counts_at_full_size(full_size, name, count):
    record = describe_adapted(build(name, {"train_modules": []}).adapt(full_size, 0))
    assert record["trainable_parameters"] == count


# Two layers w -> w/4 -> w with bias: 2 w w/4 + w/4 + w. ViT: 2 places a block, fusion encoder: 3.
def bottleneck(width):
    return 2 * width * (width // 4) + width // 4 + width


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("adapter_encoder", 32 * 2 * bottleneck(1024)),
        ("adapter_decoder", 6 * 3 * bottleneck(256)),
        ("adapter", 32 * 2 * bottleneck(1024) + 6 * 3 * bottleneck(256)),
    ],
)
def test_adapter_counts_at_full_size(full_size, name, count):
    heads = {"heads": ["semantic_projection"]}
    record = describe_adapted(build(name, heads).adapt(full_size, 0))
    assert record["trainable_parameters"] == count + 256 + 1


def test_full_counts_are_those_of_its_components(full_size):
    counts = count_by_component(full_size.model.named_parameters())
    record = describe_adapted(build("full").adapt(full_size, 0))
    assert record["trainable_parameters"] == sum(counts[name] for name in SEMANTIC)


def test_layer_decay_falls_with_the_distance_from_the_last_block():
    arm = build("full", {"layer_decay": 0.5})
    scale = [
        arm.rate_scale(f"vision_encoder.backbone.{part}", blocks=4)
        for part in ("layers.3.mlp", "layers.0.mlp", "embeddings.position_embeddings")
    ]
    assert scale == [1.0, 0.125, 0.0625]
    assert arm.rate_scale("mask_decoder.semantic_projection.weight", blocks=4) == 1.0


def test_merging_lora_changes_the_output_by_rounding_only(sam):
    adapted = trained(sam, "lora")
    with torch.no_grad():
        before = adapted(images(5))
        adapted.adapter.merge_adapter()
        merged = adapted(images(5))
        adapted.adapter.unmerge_adapter()
        after = adapted(images(5))
    assert (merged - before).abs().max() < 1e-5 * max(1.0, before.abs().max().item())
    assert (after - before).abs().max() < 1e-5 * max(1.0, before.abs().max().item())


def test_an_adapted_sam_cannot_be_adapted_again(sam):
    for first in ("lora", "adapter"):
        for second in ("lora", "full"):
            with pytest.raises(ValueError, match="adapt the bare base"):
                build(second).adapt(build(first).adapt(sam, 0), 0)


def test_unknown_heads_are_named(sam):
    with pytest.raises(ConfigError, match=r"arm\.heads: SAM3 has no module 'mask_decodr'.*mask_de"):
        build("head", {"heads": ["mask_decodr"]}).adapt(sam, 0)


def test_damaged_tensors_are_refused_by_name(sam, tmp_path):
    save_adapted(trained(sam, "head"), tmp_path)
    (tmp_path / "arm.safetensors").write_bytes(b"cut")
    with pytest.raises(WeightsError, match=r"arm\.safetensors.*train again"):
        load_adapted(sam, tmp_path)
    with pytest.raises(WeightsError, match="not the folder of an adapted SAM3"):
        load_adapted(sam, tmp_path / "nowhere")


def test_tensors_of_another_arm_are_refused(sam, tmp_path):
    save_adapted(trained(sam, "head"), tmp_path / "head")
    save_adapted(trained(sam, "decoder"), tmp_path / "decoder")
    (tmp_path / "decoder" / "arm.json").write_bytes((tmp_path / "head" / "arm.json").read_bytes())
    with pytest.raises(WeightsError, match="trained on another base or arm"):
        load_adapted(sam, tmp_path / "decoder")
