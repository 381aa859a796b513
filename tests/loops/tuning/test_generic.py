"""Generic prompts and the limit for each volume, inside a fine-tuning."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from loops import finetune as stage
from loops.config import parse_run
from loops.progress import Progress
from loops.stitch import Stitcher, StitchSettings
from loops.tuning.checks import refuse_unfit
from loops.tuning.data import LabeledMosaics
from loops.tuning.loss import SemanticSettings, semantic_loss
from loops.tuning.mining import Mining
from loops.tuning.spread import SpreadPick
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.data.augment import NO_AUGMENT
from salearn.data.patches import Example
from salearn.errors import ConfigError
from salearn.generic_prompts import GenericSettings, candidates
from salearn.hard_negatives import NegativeSettings
from salearn.models.arms.registry import build
from salearn.models.sam3 import SamSettings, load_sam

LN2 = math.log(2)
TWO = NegativeSettings(generic=GenericSettings(count=2), warm=0.2, refresh=1.0, per_volume=0.25)
SINGLE = Stitcher(StitchSettings(policy="single"), 2)


def case(name, shown=(1, 3), seed=0):
    image = np.random.default_rng(seed).uniform(-1, 1, (1, 16, 16, 6)).astype(np.float32)
    mask = np.zeros((16, 16, 6), np.uint8)
    mask[4:9, 4:9, slice(*shown)] = 1
    return Example(case_id=CaseId(name), image=image, mask=mask, spacing=(1.0, 1.0, 1.0))


# --- generic prompts --------------------------------------------------------------------------


def test_generic_prompts_are_negatives_everywhere():
    logits, target = torch.zeros(1, 3, 2, 2), torch.tensor([[[1, 0], [0, 255]]])
    logits[0, 2] = 100.0  # a generic prompt that fires everywhere
    found = Mining(NegativeSettings(prompt_weight=1), 0).loss(logits, target)
    # class 1 is there: 1/4 ln 2 and 100 at three known pixels each, in the mean over six
    assert found.item() == pytest.approx((0.25 * LN2 + 100) / 2)
    one = Mining(NegativeSettings(prompt_weight=1), 0).loss(logits[:, :1], target)
    assert one.item() == 0


def test_what_guards_exclude_for_a_class_still_counts_for_generic_prompts():
    logits, target = torch.zeros(1, 2, 2, 2), torch.zeros(1, 2, 2, dtype=torch.long)
    maps = torch.cat([torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2)], 1)  # all of it excluded
    logits[0, 0] = 100.0
    found = Mining(NegativeSettings(prompt_weight=1), 0).loss(logits, target, maps)
    assert found.item() == pytest.approx(0.25 * LN2)


def test_presence_of_generic_prompts_is_to_be_zero():
    presence = torch.zeros(1, 3, requires_grad=True)
    target = torch.tensor([[[1, 0], [0, 0]]])
    given = SemanticSettings(dice=0, focal=0, presence=1)
    semantic_loss(torch.zeros(1, 1, 2, 2), presence, target, given).backward()
    # sigmoid(0) - y, over three prompts
    assert presence.grad.flatten().tolist() == pytest.approx([-1 / 6, 1 / 6, 1 / 6])


def test_generic_prompts_need_the_prompt_tier_and_a_sam3_that_knows_them():
    off = NegativeSettings(prompt=False, generic=GenericSettings(count=2))
    for given, mined in (
        (stage.FinetuneSettings(), off),
        (stage.FinetuneSettings(loss="sfr"), TWO),
    ):
        with pytest.raises(ConfigError, match=r"mining\.generic: .*prompt tier"):
            refuse_unfit(SamSettings(), given, mined)
    with pytest.raises(ConfigError, match="loaded without a pool"):
        Mining(TWO, 0).further(load_sam(SamSettings(weights="tiny"), ("object",)), 0, 2)


def test_a_run_hands_its_prompts_and_names_to_the_pool(tmp_path: Path):
    texts = {"count": 1, "lists": [], "texts": ["car"]}
    values = {"finetune": {"mining": {"generic": texts}}, "out": str(tmp_path / "run")}
    values["data"] = {"phantom_cases": 3, "split": {"test": 1, "validation": 0}}
    bench = Workbench(parse_run(values, "t"), Progress(enabled=False))
    found = bench.generic(bench.config.finetune.mining)
    assert found.texts == ("car",)
    assert found.against == bench.prompts
    assert bench.generic(None) is None
    clash = GenericSettings(count=1, texts=(bench.dataset.classes[0],))
    with pytest.raises(ConfigError, match="cannot be told from"):
        bench.generic(NegativeSettings(generic=clash))


@pytest.mark.slow
@pytest.mark.parametrize("cache", [None, {"copies": 2}])
def test_a_cut_training_with_generic_prompts_ends_as_an_uncut_one(tmp_path, monkeypatch, cache):
    pool = candidates(TWO.generic, ("object",), ())
    sam = load_sam(SamSettings(weights="tiny", resolution=32, presence="gate"), ("object",), pool)
    given = stage.FinetuneSettings(
        iterations=4, batch=3, checkpoint_every=2, log_every=1, loss="semantic", mining=TWO,
        cache=cache,
    )  # fmt: skip
    step = stage._Training.step

    def killed(training, iteration):
        if iteration == 3:
            raise KeyboardInterrupt
        return step(training, iteration)

    def train(work: Path) -> bytes:
        cases = [case("a"), case("b", seed=1)]
        record = stage.finetune(cases, sam, build("head"), SINGLE, given, work, 3)
        assert record["generic"] == {"texts": sam.pool.texts, "dropped": sam.pool.dropped}
        return (work / "arm.safetensors").read_bytes()

    whole = train(tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(stage._Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "parts")
    assert train(tmp_path / "parts") == whole


# --- a limit for each volume ------------------------------------------------------------------


def spread(masks, batch, given, seed):
    """Volume and slice of a step, in the order of visits."""
    mining, rng = Mining(given, 0), np.random.default_rng(seed)
    pick, chosen, visits = SpreadPick(mining, len(masks)), [], 0
    while len(chosen) < batch:
        volume = visits % len(masks)
        mask, visits = masks[volume], visits + 1
        room = batch - len(chosen)
        chosen += [(volume, int(z)) for z in pick(volume, mask, np.arange(len(mask)), room, rng)]
    return chosen


def masks_of(volumes, positive, slices=12):
    mask = np.zeros((slices, 4, 4), np.uint8)
    mask[:positive] = 1
    return [mask] * volumes


@pytest.mark.parametrize(("volumes", "most"), [(6, 1), (4, 1), (3, 2), (2, 2), (1, 4)])
def test_no_volume_gives_more_than_its_share_of_the_negatives(volumes, most):
    given = NegativeSettings(share=0.5, per_volume=0.25)  # four of eight, one from each volume
    for seed in range(20):
        chosen = spread(masks_of(volumes, 6), 8, given, seed)
        negatives = [volume for volume, z in chosen if z >= 6]
        assert len(negatives) == 4
        assert max(np.bincount(negatives)) <= most  # ceil(4 / volumes) where there are few
        assert len(set(chosen)) == len(chosen) == 8


def test_a_step_is_filled_where_volumes_lack_what_is_wanted():
    given = NegativeSettings(share=0.5, per_volume=0.25)
    for positive in (0, 1, 12):  # nothing to find, too little, no slice without it
        chosen = spread(masks_of(5, positive), 8, given, 0)
        assert len(chosen) == 8
    ones = [z for _, z in spread(masks_of(5, 1), 8, given, 0)]
    assert ones.count(0) >= 4  # positives of four volumes come first


def test_steps_of_a_training_are_spread_over_volumes():
    cases = [case(name, seed=n) for n, name in enumerate("abcde")]
    labeled = LabeledMosaics(cases, SINGLE, NO_AUGMENT, 32, 8)
    mining = Mining(NegativeSettings(share=0.75, per_volume=0.25), 0)
    mining.prepare(labeled, 1)
    drawn = labeled.sample(4, np.random.default_rng(0), mining.picker)
    empty = ~(drawn.target == 1).flatten(1).any(1)
    assert len(drawn.cases) >= int(empty.sum()) == 3  # three negatives of as many volumes
    again = labeled.sample(4, np.random.default_rng(0), mining.picker)
    assert torch.equal(drawn.images, again.images)
    assert Mining(NegativeSettings(), 0).picker is not None
