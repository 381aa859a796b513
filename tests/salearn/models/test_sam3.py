import json
import sys
from unittest.mock import MagicMock

import pytest
import torch
from torch import nn

from salearn.errors import ConfigError, WeightsError
from salearn.models import sam3_weights
from salearn.models.sam3 import SamSettings, class_probabilities, load_sam, sam_key
from salearn.models.sam3_prompts import (
    ClipTokenizer,
    WordTokenizer,
    embed_prompts,
    read_tokenizer,
)
from salearn.models.sam3_weights import build_model, check_torchvision, export_weights

SMALL = SamSettings(weights="tiny", resolution=64)
PROMPTS = ("anterior part", "posterior part")


@pytest.fixture(scope="module")
def sam():
    return load_sam(SMALL, PROMPTS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights")
    export_weights(SMALL, path)
    return path


def images(count=2, side=64, seed=0):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_semantic_path_equals_the_full_forward_bit_for_bit():
    model, tokenizer = build_model(SMALL)
    ids, mask = tokenizer.encode(PROMPTS[:1])
    with torch.no_grad():
        full = model.eval()(pixel_values=images(1), input_ids=ids, attention_mask=mask).semantic_seg
        ours = load_sam(SMALL, PROMPTS[:1])(images(1))
    expected = nn.functional.interpolate(full, (64, 64), mode="bilinear", align_corners=False)
    assert torch.equal(ours, expected)


def test_each_image_is_seen_with_each_prompt(sam):
    with torch.no_grad():
        both = sam(images(2))
        alone = torch.cat([sam(images(2)[i : i + 1]) for i in range(2)])
        swapped = load_sam(SMALL, PROMPTS[::-1])(images(2))
    assert both.shape == (2, 2, 64, 64)
    torch.testing.assert_close(both, alone, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(both, swapped.flip(1), atol=1e-5, rtol=1e-5)
    assert (both[:, 0] - both[:, 1]).abs().max() > 1e-3


def test_text_tower_is_dropped_after_caching(sam):
    assert sam.model.text_encoder is None
    kept = sum(p.numel() for p in sam.parameters())
    model, _ = build_model(SMALL)
    text = [*model.text_encoder.parameters(), *model.text_projection.parameters()]
    assert sam.base_parameters == kept + sum(p.numel() for p in text)
    assert 0.6e6 < sam.base_parameters < 0.8e6
    assert not any(p.requires_grad for p in sam.parameters())


def test_tiny_is_the_same_for_the_same_seed_whatever_ran_before(sam):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    again = load_sam(SMALL, PROMPTS)
    assert torch.equal(torch.get_rng_state(), state)
    other = load_sam(SamSettings(weights="tiny", resolution=64, seed=1), PROMPTS)
    pairs = list(zip(sam.parameters(), again.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in pairs)
    assert not torch.equal(sam(images(1)), other(images(1)))


def test_untrained_foreground_probability_is_small(sam):
    with torch.no_grad():
        probabilities = class_probabilities(sam(images()))
    assert probabilities.shape == (2, 3, 64, 64)
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, 64, 64))
    assert probabilities[:, 0].mean() > 0.6


def test_one_class_is_the_sigmoid_and_two_are_exclusive():
    logits = torch.tensor([[[1.5]]])
    torch.testing.assert_close(class_probabilities(logits)[:, 1], torch.sigmoid(logits[:, 0]))
    # e^0 : e^0 : e^0
    equal = class_probabilities(torch.zeros(1, 2, 1))
    torch.testing.assert_close(equal, torch.full((1, 3, 1), 1 / 3))


def test_another_resolution_gives_the_same_numbers_built_or_set(sam):
    built = load_sam(SamSettings(weights="tiny", resolution=96), PROMPTS)
    with torch.no_grad(), sam.at_resolution(96):
        torch.testing.assert_close(sam(images(1, 96)), built(images(1, 96)), atol=0, rtol=0)
    assert sam.resolution == 64
    assert sam(images(1)).shape == (1, 2, 64, 64)


def test_tokens_are_the_normalised_output_of_the_encoder(sam):
    with torch.no_grad():
        whole = sam.model.vision_encoder(images()).last_hidden_state
        tokens = sam.tokens(images())
        early = sam.tokens(images(), block=1)
    assert tokens.shape == early.shape == (2, 64, 96)
    torch.testing.assert_close(tokens, nn.functional.layer_norm(whole, (96,)))
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(2, 64), atol=1e-5, rtol=0)
    with pytest.raises(ConfigError, match=r"embed\.block"):
        sam.tokens(images(), block=4)


def test_gradient_checkpointing_gives_the_same_gradients():
    gradients = []
    for checkpointing in (False, True):
        given = SamSettings(weights="tiny", resolution=64, gradient_checkpointing=checkpointing)
        model = load_sam(given, PROMPTS[:1]).train()
        weight = model.backbone.layers[0].attention.q_proj.weight.requires_grad_(True)
        model(images(1)).square().mean().backward()
        gradients.append(weight.grad)
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, atol=0, rtol=0)


def test_a_twin_shares_tensors_but_not_modules(sam):
    twin = sam.twin()
    assert twin.backbone.layers[0] is not sam.backbone.layers[0]
    assert all(a is b for a, b in zip(sam.parameters(), twin.parameters(), strict=True))


def test_saved_weights_are_loaded_from_their_folder_at_any_resolution(sam, folder):
    given = SamSettings(weights=str(folder), resolution=64)
    loaded = load_sam(given, PROMPTS)
    with torch.no_grad():
        assert torch.equal(loaded(images()), sam(images()))
        larger = load_sam(SamSettings(weights=str(folder), resolution=96), PROMPTS)
        with sam.at_resolution(96):
            assert torch.equal(larger(images(1, 96)), sam(images(1, 96)))
    assert sam_key(given) != sam_key(SMALL)


def test_a_video_checkpoint_with_prefixed_keys_is_loaded(sam, folder, tmp_path):
    from safetensors.torch import load_file, save_file

    state = {f"detector_model.{k}": v for k, v in load_file(folder / "model.safetensors").items()}
    state["tracker_model.extra"] = torch.zeros(1)
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    detector = json.loads((folder / "config.json").read_text())
    config = {"model_type": "sam3_video", "detector_config": detector}
    (tmp_path / "config.json").write_text(json.dumps(config))
    WordTokenizer().save(tmp_path)
    loaded = load_sam(SamSettings(weights=str(tmp_path), resolution=64), PROMPTS)
    assert torch.equal(loaded(images(1)), sam(images(1)))


def copied(folder, target, change=None):
    from safetensors.torch import load_file, save_file

    for path in folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    if change is not None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    return SamSettings(weights=str(target))


def test_missing_keys_are_refused_by_name(folder, tmp_path):
    name = "mask_decoder.semantic_projection.weight"
    given = copied(folder, tmp_path, lambda state: state.pop(name))
    with pytest.raises(WeightsError, match=f"1 missing keys, e.g. {name}"):
        load_sam(given, PROMPTS)


def test_unexpected_keys_are_refused_by_name(folder, tmp_path):
    given = copied(folder, tmp_path, lambda state: state.update(strange=torch.zeros(1)))
    with pytest.raises(WeightsError, match=r"1 unexpected keys, e\.g\. strange"):
        load_sam(given, PROMPTS)


def test_weights_of_another_shape_are_refused(folder, tmp_path):
    def change(state):
        state["mask_decoder.semantic_projection.bias"] = torch.zeros(3)

    with pytest.raises(WeightsError, match="semantic_projection"):
        load_sam(copied(folder, tmp_path, change), PROMPTS)


def test_a_truncated_file_is_refused(folder, tmp_path):
    given = copied(folder, tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_sam(given, PROMPTS)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors", "word_tokenizer.json"])
def test_a_folder_without_a_needed_file_is_refused(folder, tmp_path, missing):
    given = copied(folder, tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(WeightsError, match=str(tmp_path)):
        load_sam(given, PROMPTS)


def test_other_hub_repositories_are_never_loaded():
    with pytest.raises(WeightsError, match="other hub repositories are not loaded"):
        load_sam(SamSettings(weights="somebody/sam3-mirror"), PROMPTS)


@pytest.mark.parametrize("kind", ["gated", "offline"])
def test_without_access_to_the_hub_the_steps_are_given(monkeypatch, kind):
    import huggingface_hub
    from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled

    asked = {}

    def refuse(repo, revision, **options):
        asked.update(repo=repo, revision=revision)
        if kind == "offline":
            raise OfflineModeIsEnabled("offline")
        raise GatedRepoError("403 gated", response=MagicMock())

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(WeightsError, match=r"accept the form.*hf auth login"):
        load_sam(SamSettings(weights="facebook/sam3"), PROMPTS)
    assert asked["repo"] == "facebook/sam3"
    assert asked["revision"] == "3c879f39826c281e95690f02c7821c4de09afae7"


def test_a_broken_torchvision_is_named(monkeypatch, tmp_path):
    (tmp_path / "torchvision.py").write_text("raise RuntimeError('nms does not exist')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "torchvision", raising=False)
    with pytest.raises(WeightsError, match=r"torchvision.*nms does not exist.*pip uninstall"):
        check_torchvision()


def test_impossible_settings_are_refused():
    with pytest.raises(ConfigError, match=r"sam\.resolution: 100 is not a multiple"):
        load_sam(SamSettings(weights="tiny", resolution=100), PROMPTS)
    with pytest.raises(ValueError, match=r"sam\.dtype"):
        SamSettings(dtype="bfloat16")


def test_prompts_that_cannot_be_told_apart_are_refused():
    model, tokenizer = build_model(SMALL)
    with pytest.raises(ConfigError, match="the same tokens"):
        embed_prompts(model, tokenizer, ["liver", "Liver!"])
    with pytest.raises(ConfigError, match="one text prompt per class"):
        embed_prompts(model, tokenizer, [])
    with pytest.raises(ConfigError, match="1 to 6 words"):
        embed_prompts(model, tokenizer, ["a b c d e f g"])


def test_word_tokens_are_stable():
    ids, mask = WordTokenizer().encode(["anterior part", "hippocampus"])
    # begin, anterior = 3 + 5, part = 3 + 1, end; the hash of "hippocampus" never changes.
    assert ids[0].tolist() == [1, 8, 4, 2, 0, 0, 0, 0]
    assert mask[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert ids[1].tolist() == [1, 22, 2, 0, 0, 0, 0, 0]


def test_clip_tokens_are_read_from_local_files(tmp_path):
    from transformers import CLIPTokenizer
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    symbols = list(bytes_to_unicode().values())
    symbols += [s + "</w>" for s in symbols] + ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {symbol: i for i, symbol in enumerate(symbols)}
    CLIPTokenizer(vocab=vocabulary, merges=[]).save_pretrained(str(tmp_path))
    tokenizer = read_tokenizer(tmp_path, 8)
    assert isinstance(tokenizer, ClipTokenizer)
    ids, mask = tokenizer.encode(["abc"])
    assert ids.shape == (1, 8)
    assert mask[0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]  # begin, a, b, c, end
    with pytest.raises(ConfigError, match="SAM3 takes 8"):
        tokenizer.encode(["abcdefghijkl"])


def test_the_full_size_model_has_the_published_parts():
    from transformers import Sam3Config, Sam3Model

    with torch.device("meta"):
        model = Sam3Model(Sam3Config())
    assert sum(p.numel() for p in model.parameters()) == 840_376_374
    assert sam3_weights.HUB == "facebook/sam3"
