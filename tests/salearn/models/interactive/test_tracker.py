"""SAM3's tracker at tiny size: the real class, prompts in the right place, real checkpoints."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from salearn.errors import ConfigError, DataError, WeightsError
from salearn.models.interactive import tracker_weights
from salearn.models.interactive.planes import click_pixels
from salearn.models.interactive.tracker import ClickSam, Tracker, load_tracker
from salearn.models.interactive.tracker_weights import TrackerSettings, tracker_key
from salearn.prompts.geometry import Box, Click, Prompt, Prompted

TINY = TrackerSettings(weights="tiny", resolution=32)
CLICKS = (Click(3, 4), Click(20, 30, positive=False))


@pytest.fixture(scope="module")
def tracker() -> Tracker:
    return load_tracker(TINY)


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.uniform(-1, 1, (1, 24, 40)).astype(np.float32) for _ in range(2)]


def test_it_answers_as_the_forward_of_transformers(tracker: Tracker) -> None:
    pixels = torch.rand(2, 3, 32, 32) * 2 - 1
    points = torch.tensor([[[[10.0, 12.0]]], [[[3.0, 30.0]]]])
    signs = torch.ones(2, 1, 1, dtype=torch.long)
    with torch.no_grad():
        expected = tracker.model(
            pixel_values=pixels, input_points=points, input_labels=signs, multimask_output=False
        )
        maps = tracker.see(pixels)
        found = tracker.decode(maps, points, signs)
    assert torch.equal(found, expected.pred_masks[:, :, 0])
    assert found.shape == (2, 1, 16, 16)  # 4 tokens a side, 4 x 4 answers a token
    several = tracker.decode(maps, points, signs, several=True)
    assert several.shape == (2, 1, 16, 16)


def test_the_embedding_of_an_empty_memory_reaches_the_map_that_is_used(tracker: Tracker) -> None:
    pixels = torch.rand(1, 3, 32, 32)
    memory = tracker.model.no_memory_embedding
    with torch.no_grad():
        before = tracker.see(pixels)
        memory.fill_(2.0)
        after = tracker.see(pixels)
        memory.zero_()
    assert torch.equal(before[0], after[0])
    torch.testing.assert_close(after[2] - before[2], torch.full_like(before[2], 2.0))


def test_answers_are_finite_on_the_grid_of_the_slice_and_obey_what_is_shown(
    tracker: Tracker, images: list[np.ndarray]
) -> None:
    model = ClickSam(tracker)
    assert isinstance(model, Prompted)
    view = model.see(images)[0]
    empty = view.segment(Prompt(label=1))
    answers = [
        view.segment(Prompt(label=1, clicks=CLICKS[:1])),
        view.segment(Prompt(label=1, clicks=CLICKS)),
        view.segment(Prompt(label=1, clicks=CLICKS), previous=empty),
        view.segment(Prompt(label=1, boxes=(Box(2, 3, 9, 12),))),
        view.segment(Prompt(label=1, clicks=CLICKS[:1], boxes=(Box(2, 3, 9, 12),))),
        view.segment(Prompt(label=1, boxes=(Box(2, 3, 9, 12), Box(11, 20, 20, 30)))),
    ]
    seen = [empty]
    for answer in answers:
        assert answer.shape == (24, 40)
        assert np.isfinite(answer).all()
        assert all(np.abs(answer - other).max() > 1e-6 for other in seen)
        seen.append(answer)


def test_several_boxes_give_the_union_of_their_answers(
    tracker: Tracker, images: list[np.ndarray]
) -> None:
    maps = tracker.see(torch.rand(1, 3, 32, 32))
    boxes = torch.tensor([[[1.0, 2.0, 9.0, 12.0], [11.0, 20.0, 20.0, 30.0]]])
    both = tracker.decode(maps, boxes=boxes)
    first = tracker.decode(maps, boxes=boxes[:, :1])
    torch.testing.assert_close(both[:, :1], first, atol=1e-5, rtol=1e-5)


def test_gradients_reach_trunk_neck_prompts_and_decoder() -> None:
    tracker = load_tracker(TINY)
    tracker.model.requires_grad_(True)
    maps = tracker.see(torch.rand(2, 3, 32, 32))
    points, signs = torch.rand(2, 1, 3, 2) * 31, torch.tensor([[[1, 0, -10]], [[1, 1, 0]]])
    tracker.decode(maps, points, signs, previous=torch.randn(2, 1, 16, 16)).sum().backward()
    named = dict(tracker.model.named_parameters())
    for name in (
        "vision_encoder.backbone.layers.0.attention.q_proj.weight",
        "vision_encoder.neck.fpn_layers.2.proj1.weight",
        "prompt_encoder.point_embed.weight", "prompt_encoder.mask_embed.conv1.weight",
        "mask_decoder.mask_tokens.weight", "no_memory_embedding",
    ):  # fmt: skip
        gradient = named[name].grad
        assert gradient is not None
        assert torch.isfinite(gradient).all()
        assert gradient.abs().sum() > 0


def test_a_click_keeps_its_place_when_the_slice_becomes_a_square() -> None:
    # A slice of 24 x 40 in a square of 32: the middle of pixel (3, 4) lies 3.5 / 24 down and
    # 4.5 / 40 across, that is at 4.6667 and 3.6; counted from pixel middles 4.1667 and 3.1.
    found = click_pixels([Click(3, 4)], (24, 40), 32)
    torch.testing.assert_close(found, torch.tensor([[3.1, 3.5 / 24 * 32 - 0.5]]))


def test_the_same_seed_gives_the_same_tracker_and_the_sizes_may_not_mix(
    tracker: Tracker, images: list[np.ndarray]
) -> None:
    again = load_tracker(TINY).model.state_dict()
    assert all(torch.equal(v, again[name]) for name, v in tracker.model.state_dict().items())
    assert tracker_key(TINY) != tracker_key(TrackerSettings(weights="tiny", seed=1))
    with pytest.raises(DataError, match="several sizes"):
        ClickSam(tracker).see([images[0], images[1][:, :20]])
    view = ClickSam(tracker).see(images[:1])[0]
    boxes = (Box(0, 0, 2, 2), Box(4, 4, 6, 6))
    with pytest.raises(ConfigError, match="one box at most"):
        view.segment(Prompt(label=1, clicks=CLICKS, boxes=boxes))


def whole_checkpoint(folder: Path, tracker: Tracker) -> dict[str, torch.Tensor]:
    """A SAM3 checkpoint as the hub holds it, at tiny size: detector, tracker and its neck."""
    from transformers import Sam3VideoConfig, Sam3VideoModel

    from salearn.models.sam3_tiny import SamSize, tiny_config

    detector, own = tiny_config(SamSize(resolution=32)).to_dict(), tracker.model.config
    small = 32
    config = Sam3VideoConfig(
        detector_config=detector,
        tracker_config={
            "vision_config": detector["vision_config"],
            "prompt_encoder_config": own.prompt_encoder_config.to_dict(),
            "mask_decoder_config": own.mask_decoder_config.to_dict(),
            "image_size": 32, "memory_attention_hidden_size": small,
            "memory_encoder_hidden_size": small, "memory_encoder_output_channels": 16,
            "mask_downsampler_embed_dim": small, "memory_fuser_embed_dim": small,
            "memory_fuser_intermediate_dim": small, "memory_attention_num_attention_heads": 1,
            "memory_attention_feed_forward_hidden_size": small,
            "memory_attention_rope_feat_sizes": [4, 4], "memory_attention_num_layers": 1,
        },
        low_res_mask_size=16,
    )  # fmt: skip
    state = {k: v.clone().contiguous() for k, v in Sam3VideoModel(config).state_dict().items()}
    folder.mkdir()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)
    return state


@pytest.mark.slow
def test_the_tracker_is_found_inside_a_whole_checkpoint_and_a_damaged_one_is_refused(
    tmp_path: Path, tracker: Tracker
) -> None:
    folder = tmp_path / "sam3"
    state = whole_checkpoint(folder, tracker)
    loaded = load_tracker(TrackerSettings(weights=str(folder))).model.state_dict()
    for ours, theirs in (
        ("mask_decoder.iou_token.weight", "tracker_model.mask_decoder.iou_token.weight"),
        ("no_memory_embedding", "tracker_model.no_memory_embedding"),
        ("vision_encoder.neck.fpn_layers.0.proj1.weight", "tracker_neck.fpn_layers.0.proj1.weight"),
        ("vision_encoder.backbone.layers.0.mlp.fc1.weight",
         "detector_model.vision_encoder.backbone.layers.0.mlp.fc1.weight"),
    ):  # fmt: skip
        assert torch.equal(loaded[ours], state[theirs])
    file = folder / "model.safetensors"
    save_file({k: v for k, v in state.items() if "iou_token" not in k}, file, {"format": "pt"})
    with pytest.raises(WeightsError, match=r"1 missing keys, e\.g\. mask_decoder\.iou_token"):
        load_tracker(TrackerSettings(weights=str(folder)))
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_tracker(TrackerSettings(weights=str(folder)))


def test_what_cannot_be_had_or_cannot_be_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(WeightsError, match="nor a folder"):
        load_tracker(TrackerSettings(weights="nowhere"))
    with pytest.raises(ConfigError, match="multiple of the attention window of 32"):
        load_tracker(TrackerSettings(weights="tiny", resolution=48))
    monkeypatch.setattr(tracker_weights, "FOLDER", tmp_path)
    with pytest.raises(WeightsError, match=r"benchmarks\.train_clicks"):
        load_tracker(TrackerSettings(weights="mini"))

    def offline(*given: object, **named: object) -> str:
        raise OSError("403 Forbidden")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(WeightsError, match=r"accept the form.*tracker\.weights=/path"):
        load_tracker(TrackerSettings(weights="facebook/sam3"))
