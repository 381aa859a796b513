import pytest
import torch

from salearn.errors import ConfigError, WeightsError
from salearn.models.lora import (
    LoraSettings,
    adapt,
    adapter_settings,
    describe,
    load_adapter,
    save_adapter,
    trainable,
)
from salearn.models.sam3 import Sam, SamSettings, load_sam

SMALL = SamSettings(weights="tiny", resolution=64)


@pytest.fixture(scope="module")
def sam():
    return load_sam(SMALL, ("object",))


@pytest.fixture(scope="module")
def full():
    """SAM3 at its real size, without memory behind it."""
    from transformers import Sam3Config, Sam3Model

    with torch.device("meta"):
        text = (torch.empty(1, 32, 256), torch.ones(1, 32, dtype=torch.bool))
        return Sam(Sam3Model(Sam3Config()), SamSettings(), ("object",), text)


def images(seed=0):
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def trained(sam, given, steps=2):
    adapted = adapt(sam, given, seed=3).train()
    optimizer = torch.optim.SGD(trainable(adapted).values(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        adapted(images()).square().mean().backward()
        optimizer.step()
    return adapted.eval()


# rank * (in + out) for each adapted layer; ViT: 32 blocks, width 1024, MLP 4736;
# DETR encoder: 6 layers, width 256, MLP 2048.
VIT_SQUARE, VIT_MLP = 8 * (1024 + 1024), 8 * (1024 + 4736)
DETR_SQUARE, DETR_MLP = 8 * (256 + 256), 8 * (256 + 2048)


@pytest.mark.parametrize(
    ("targets", "modules", "count"),
    [
        ("vit_qv", 64, 32 * 2 * VIT_SQUARE),  # 1,048,576
        ("vit_attention", 128, 32 * 4 * VIT_SQUARE),  # 2,097,152
        ("vit_all", 192, 32 * (4 * VIT_SQUARE + 2 * VIT_MLP)),  # 5,046,272
        ("vit_detr_attention", 176, 32 * 4 * VIT_SQUARE + 6 * 8 * DETR_SQUARE),
        (
            "vit_detr_all",
            252,
            32 * (4 * VIT_SQUARE + 2 * VIT_MLP) + 6 * (8 * DETR_SQUARE + 2 * DETR_MLP),
        ),
    ],
)
def test_counts_at_full_size_are_the_closed_form(full, targets, modules, count):
    record = describe(adapt(full, LoraSettings(targets=targets, train_modules=()), 0))
    assert record["adapted_modules"] == modules
    assert record["lora_parameters"] == record["trainable_parameters"] == count
    assert record["base_parameters"] == 840_376_374


def test_full_size_with_the_mask_decoder_counts_both_parts(full):
    given = LoraSettings(targets="vit_qv", train_modules=("mask_decoder",))
    record = describe(adapt(full, given, 0))
    assert record["full_parameters"] == 2_298_881
    assert record["trainable_parameters"] == 2_298_881 + 1_048_576


def test_tiny_default_set_has_the_count_of_the_prototype(sam):
    record = describe(adapt(sam, LoraSettings(), 0))
    assert record["lora_parameters"] == 60_928
    assert record["full_modules"] == ["mask_decoder", "neck"]


def test_a_fresh_adapter_changes_nothing(sam):
    with torch.no_grad():
        assert torch.equal(adapt(sam, LoraSettings(), 0)(images()), sam(images()))


def test_only_the_adapter_is_trained_and_the_base_is_untouched(sam):
    before = [p.clone() for p in sam.parameters()]
    adapted = trained(sam, LoraSettings())
    with torch.no_grad():
        assert not torch.equal(adapted(images()), sam(images()))
    assert all(torch.equal(a, b) for a, b in zip(before, sam.parameters(), strict=True))
    assert sam.adapter is None
    assert not any(p.requires_grad for p in sam.parameters())
    frozen = [p for p in adapted.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)


def test_every_lora_tensor_gets_a_gradient(sam):
    adapted = trained(sam, LoraSettings())
    silent = [n for n, p in trainable(adapted).items() if p.grad is None]
    # What the semantic path does not use inside modules that are trained in full.
    parts = ("mask_embedder", "instance_projection", "fpn_layers.3", "conv_layers.2", "norms.2")
    assert all(any(part in name for part in parts) for name in silent)


def test_adapting_is_the_same_for_the_same_seed_and_keeps_the_global_generator(sam):
    state = torch.get_rng_state()
    first, again, other = (adapt(sam, LoraSettings(), seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    tensors = [list(trainable(model).values()) for model in (first, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(tensors[0], tensors[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(tensors[0], tensors[2], strict=True))


def test_a_saved_adapter_is_loaded_bit_for_bit(sam, tmp_path):
    adapted = trained(sam, LoraSettings(rank=4, alpha=8))
    save_adapter(adapted, tmp_path)
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {
        path.name for path in tmp_path.iterdir()
    }
    assert adapter_settings(tmp_path)["r"] == 4
    loaded = load_adapter(sam, tmp_path)
    with torch.no_grad():
        assert torch.equal(loaded(images()), adapted(images()))
    assert not trainable(loaded)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_peft_itself_can_load_a_saved_adapter(sam, tmp_path):
    from peft import PeftModel

    adapted = trained(sam, LoraSettings())
    save_adapter(adapted, tmp_path)
    twin = sam.twin()
    PeftModel.from_pretrained(twin.model, str(tmp_path))
    with torch.no_grad():
        assert torch.equal(twin(images()), adapted(images()))


def test_a_damaged_or_foreign_adapter_is_refused(sam, tmp_path):
    with pytest.raises(WeightsError, match=r"no adapter_config\.json"):
        load_adapter(sam, tmp_path)
    save_adapter(adapt(sam, LoraSettings(), 0), tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_adapter(sam, tmp_path)


def test_an_adapter_with_missing_tensors_is_refused(sam, tmp_path):
    from safetensors.torch import load_file, save_file

    save_adapter(adapt(sam, LoraSettings(), 0), tmp_path)
    state = load_file(tmp_path / "adapter_model.safetensors")
    state.pop(sorted(state)[0])
    save_file(state, tmp_path / "adapter_model.safetensors")
    with pytest.raises(WeightsError, match="1 missing tensors"):
        load_adapter(sam, tmp_path)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        ({"targets": "vit_qkv"}, "did you mean 'vit_qv'"),
        ({"targets": "q_proj"}, "matches no module path"),
        ({"targets": "("}, "no regular expression"),
        ({"targets": r"vision_encoder\..*"}, "not a linear layer"),
        ({"train_modules": ("mask_decode",)}, "did you mean 'mask_decoder'"),
    ],
)
def test_unknown_targets_are_refused_with_the_nearest_name(sam, values, match):
    with pytest.raises(ConfigError, match=match):
        adapt(sam, LoraSettings(**values), 0)


def test_a_custom_expression_adapts_what_it_matches(sam):
    given = LoraSettings(targets=r"mask_decoder\.prompt_cross_attn\.[qv]_proj", train_modules=())
    assert describe(adapt(sam, given, 0))["adapted_modules"] == 2


def test_an_adapted_model_is_not_adapted_again(sam):
    with pytest.raises(ValueError, match="adapter already"):
        adapt(adapt(sam, LoraSettings(), 0), LoraSettings(), 0)
