"""Fine-tuning trains what the arm says, goes on after a cut, and leaves the base as it is."""

import numpy as np
import pytest
import torch

from loops import finetune as stage
from loops.finetune import FinetuneSettings, finetune
from loops.stitch import Stitcher, StitchSettings
from salearn.cases import CaseId
from salearn.data.patches import Example
from salearn.models.adapted import load_adapted
from salearn.models.arms.registry import build
from salearn.models.sam3 import SamSettings, load_sam

STITCHER = Stitcher(StitchSettings(), 2)
SHORT = FinetuneSettings(iterations=4, checkpoint_every=2, log_every=2, learning_rate=1e-3)


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=64), ("object",))


def box():
    rng = np.random.default_rng(0)
    mask = np.zeros((16, 16, 4), np.uint8)
    mask[4:11, 4:11, 1:3] = 1
    image = (rng.normal(0, 0.3, mask.shape) + 2 * mask).astype(np.float32)[None]
    return Example(case_id=CaseId("box"), image=image, mask=mask)


@pytest.mark.parametrize("name", ["full", "adapter"])
@pytest.mark.slow
def test_a_cut_training_of_an_arm_ends_as_an_uncut_one(sam, tmp_path, monkeypatch, name):
    before = [p.clone() for p in sam.parameters()]
    arm, whole, parts = build(name), tmp_path / "whole", tmp_path / "parts"
    record = finetune([box()], sam, arm, STITCHER, SHORT, whole, 3)
    step = stage._Training.step

    def killed(training, iteration):
        if iteration == 3:
            raise KeyboardInterrupt
        return step(training, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(stage._Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune([box()], sam, arm, STITCHER, SHORT, parts, 3)
    assert finetune([box()], sam, arm, STITCHER, SHORT, parts, 3) == record
    for file in ("arm.json", "arm.safetensors", "train.jsonl", "record.json"):
        assert (parts / file).read_bytes() == (whole / file).read_bytes()
    assert all(torch.equal(a, b) for a, b in zip(before, sam.parameters(), strict=True))
    assert record["arm"] == name
    assert sum(record["trainable_by_component"].values()) == record["trainable_parameters"]


def test_zero_shot_trains_nothing_and_is_the_base(sam, tmp_path):
    record = finetune([box()], sam, build("zero_shot"), STITCHER, SHORT, tmp_path, 0)
    assert (record["trainable_parameters"], record["iterations"], record["last_loss"]) == (
        0,
        0,
        None,
    )
    image = torch.zeros(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(load_adapted(sam, tmp_path)(image), sam(image))


def test_full_training_moves_early_blocks_less(sam):
    arm = build("full", {"layer_decay": 0.5})
    training = stage._Training([box()], sam, arm, STITCHER, SHORT, 0)
    training.step(0)
    rates = {group["lr"] for group in training.optimizer.param_groups}
    # Four blocks: 1 (last block, neck, heads), 1/2, 1/4, 1/8, and 1/16 for the patches.
    assert sorted(rates) == pytest.approx([1e-3 * 0.5**k for k in (4, 3, 2, 1, 0)])
