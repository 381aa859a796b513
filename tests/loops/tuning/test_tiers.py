"""Tiers three and four and the guards inside a fine-tuning."""

from pathlib import Path

import numpy as np
import pytest
import torch

from loops import finetune as stage
from loops.config import parse_run
from loops.stitch import Stitcher, StitchSettings
from loops.tuning.data import LabeledMosaics
from loops.tuning.mining import Mining
from loops.tuning.record import queue_reviews
from salearn.cases import CaseId
from salearn.data.augment import NO_AUGMENT, AugmentSettings
from salearn.data.patches import Example
from salearn.errors import TrainingError
from salearn.hard_negatives import NegativeSettings
from salearn.models.lora import LoraSettings
from salearn.models.sam3 import SamSettings, load_sam
from salearn.store import read_lines

ALL = NegativeSettings(pixel=True, boundary=True, guards=True, warm=0.2, refresh=1.0)
SINGLE = Stitcher(StitchSettings(policy="single"), 2)


def box(spacing=(2.0, 2.0, 4.0)):
    image = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 12)).astype(np.float32)
    mask = np.zeros((16, 16, 12), np.uint8)
    mask[4:9, 4:9, 1:3] = 1
    return Example(case_id=CaseId("box"), image=image, mask=mask, spacing=spacing)


def mosaics(views=NO_AUGMENT):
    return LabeledMosaics([box()], SINGLE, views, 32, 8)


def test_weights_of_pixels_are_those_of_the_boundary_on_the_hardest_pixels():
    mining = Mining(NegativeSettings(pixel=True, boundary=True), 0)
    mining.prepare(mosaics(), 1)
    drawn = mosaics().sample(12, np.random.default_rng(0), None, mining.mapper)
    logits = torch.randn(12, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    weights = mining.weights(logits, drawn.target, drawn.maps)
    boundary = drawn.maps[:, :1]
    for k in range(12):
        shown = drawn.target[k] == 1
        known = drawn.target[k] != 255
        kept = int((weights[k, 0] > 0).sum())
        # A slice fills the input: 100 or 0 of 1024 pixels are positive. 100 + 3 x 100, or
        # ceil(3 x 0.005 x 1024) = 16.
        assert kept == (400 if shown.any() else 16)
        assert (weights[k, 0][shown] == boundary[k, 0][shown]).all()
        assert (weights[k, 0][~known] == 0).all()
    assert boundary.max() > 1.5
    assert mining.weights(logits, drawn.target, None) is not None
    assert Mining(NegativeSettings(), 0).weights(logits, drawn.target, None) is None


def test_maps_are_moved_as_the_mask_is():
    views = AugmentSettings(rotation=(0, 0, 40), shift=3, flips=(0,), margin=0)
    labeled = mosaics(views)
    plain = labeled.draw(12, np.random.default_rng(3))

    def maps(index):
        return (labeled.mask(index) == 1)[None].astype(np.float32)

    drawn = labeled.sample(12, np.random.default_rng(3), None, maps)
    assert torch.equal(drawn.images, plain[0])  # carrying maps changes no draw
    assert torch.equal(drawn.target, plain[1])
    known = drawn.target != 255
    agree = (drawn.maps[:, 0] > 0.5) == (drawn.target == 1)
    assert agree[known].float().mean() > 0.98  # linear against nearest: but for a few pixels
    assert not torch.equal(drawn.target == 1, mosaics().draw(12, np.random.default_rng(3))[1] == 1)


def test_what_guards_exclude_is_mined_by_no_tier():
    mining = Mining(ALL, 0)
    mining.prepare(mosaics(), 1)
    out = np.zeros((1, 16, 16, 12), bool)
    out[0, 12, 12] = True
    mining.review.excluded[0] = out
    drawn = mosaics().sample(12, np.random.default_rng(0), None, mining.mapper)
    logits = torch.zeros(12, 1, 32, 32)
    excluded = drawn.maps[:, 1] > 0.5
    logits[:, 0][excluded] = 9.0  # by far the hardest
    assert excluded.sum() == 4 * 12  # a voxel is 2 x 2 pixels
    assert (mining.weights(logits, drawn.target, drawn.maps)[:, 0][excluded] == 0).all()
    calm = mining.loss(logits, drawn.target, drawn.maps)
    assert calm.item() == pytest.approx(0.5 * 0.25 * np.log(2))
    assert mining.loss(logits, drawn.target).item() > calm.item()
    p = np.full((12, 1, 32, 32), 0.1)
    p[:, 0][(labels := mosaics().layout(0).stitch(out.astype(np.float32)))[:, 0] > 0.5] = 1
    assert labels.max() > 0.5
    assert mining._hardness(p, 0, mosaics()) == pytest.approx(0.1)


def test_tiers_that_are_off_do_nothing():
    off = Mining(NegativeSettings(prompt=False, slice=False), 0)
    assert off.picker is None
    assert off.mapper is None
    assert off.loss(torch.ones(1, 1, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)).item() == 0
    assert Mining(NegativeSettings(), 0).picker is not None


def test_millimetres_need_a_spacing():
    labeled = LabeledMosaics([box(spacing=None)], SINGLE, NO_AUGMENT, 32, 8)
    with pytest.raises(TrainingError, match="case box came without a spacing"):
        Mining(ALL, 0).prepare(labeled, 1)


def test_keys_of_runs_without_the_new_settings_are_what_they_were():
    base = parse_run({}, "t")
    given = {"finetune": {"mining": None, "loss": "prompt"}, "sam": {"presence": "off"}}
    assert parse_run(given, "t").key == base.key
    mined = parse_run({"finetune": {"mining": {}}}, "t")
    assert mined.key != base.key
    assert parse_run({"finetune": {"mining": {"guards": False}}}, "t").key == mined.key
    assert parse_run({"finetune": {"mining": {"pixel": True}}}, "t").key != mined.key


def test_the_review_queue_of_a_run_holds_every_line_once(tmp_path: Path):
    adapter, out = tmp_path / "adapter", tmp_path / "run"
    adapter.mkdir()
    (adapter / "review.jsonl").write_text('{"case": "a", "class": 2}\n')
    for _ in range(2):
        queue_reviews(adapter, out, 1, ["lung", "heart"])
    assert read_lines(out / "review.jsonl") == [{"round": 1, "case": "a", "class": "heart"}]
    queue_reviews(tmp_path, out, 2, [])  # no guards, no file


@pytest.mark.slow
def test_a_cut_training_with_all_tiers_and_presence_ends_as_an_uncut_one(tmp_path, monkeypatch):
    sam = load_sam(SamSettings(weights="tiny", resolution=32, presence="gate"), ("object",))
    given = stage.FinetuneSettings(
        iterations=4, batch=2, checkpoint_every=2, log_every=1, loss="semantic", mining=ALL
    )
    step = stage._Training.step

    def killed(training, iteration):
        if iteration == 3:
            raise KeyboardInterrupt
        return step(training, iteration)

    def train(work: Path) -> bytes:
        record = stage.finetune([box()], sam, LoraSettings(rank=2), SINGLE, given, work, 3)
        assert record["review"] == len(read_lines(work / "review.jsonl"))
        assert record["trainable_by_component"]["presence"] > 0
        return (work / "adapter_model.safetensors").read_bytes()

    whole = train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(stage._Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts")
    assert train(tmp_path / "parts") == whole
