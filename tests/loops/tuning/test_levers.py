"""Memory levers of fine-tuning: features behind frozen blocks are kept, a teacher follows."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from loops import finetune as stage
from loops.config import parse_run
from loops.finetune import FinetuneSettings, finetune
from loops.stitch import Stitcher, StitchSettings
from loops.tuning.cache import CachedMosaics, CacheSettings
from loops.tuning.data import LabeledMosaics
from salearn.cases import CaseId
from salearn.data.augment import NO_AUGMENT, AugmentSettings
from salearn.data.patches import Example
from salearn.errors import ConfigError, TrainingError
from salearn.hard_negatives import NegativeSettings
from salearn.models.adapted import load_adapted
from salearn.models.arms.registry import build
from salearn.models.lora import trainable
from salearn.models.pair import TeacherSettings
from salearn.models.sam3 import SamSettings, load_sam
from salearn.settings import keyed

STITCHER = Stitcher(StitchSettings(), 2)
SHORT = FinetuneSettings(
    iterations=4, checkpoint_every=2, log_every=2, learning_rate=1e-3, augment=NO_AUGMENT
)
CACHE = CacheSettings(copies=2, dtype="float32")
TURNS = AugmentSettings(rotation=(0, 0, 20), shift=1.0)


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=64), ("object",))


def box(name="box", seed=0):
    rng = np.random.default_rng(seed)
    mask = np.zeros((16, 16, 4), np.uint8)
    mask[4:11, 4:11, 1:3] = 1
    image = (rng.normal(0, 0.3, mask.shape) + 2 * mask).astype(np.float32)[None]
    return Example(case_id=CaseId(name), image=image, mask=mask, spacing=(1.0, 1.0, 1.0))


def same(first, second):
    names = ("arm.json", "arm.safetensors", "adapter_model.safetensors", "train.jsonl")
    found = [name for name in names if (first / name).exists()]
    assert len(found) >= 2
    return all((first / n).read_bytes() == (second / n).read_bytes() for n in found)


def cached(sam, given=CACHE, views=TURNS, arm="decoder"):
    """Mosaics of two volumes, and the adapted model they are for."""
    adapted = build(arm).adapt(sam, 0).train()
    shown = ([box(), box("other", 1)], STITCHER, views, 64, sam.patch)
    return CachedMosaics(*shown, sam=adapted, given=given, seed=5), adapted


CACHED = [
    ("decoder", 4, {}),
    pytest.param("lora", 3, {"last": 1}, marks=pytest.mark.slow),
]


# --- the cache --------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "blocks", "arm"), CACHED)
def test_a_cached_training_ends_bit_for_bit_as_an_uncached_one(sam, tmp_path, name, blocks, arm):
    made = build(name, arm)
    plain = finetune([box()], sam, made, STITCHER, SHORT, tmp_path / "plain", 3)
    given = replace(SHORT, cache=CACHE)
    kept = finetune([box()], sam, made, STITCHER, given, tmp_path / "kept", 3)
    assert same(tmp_path / "plain", tmp_path / "kept")
    # 8 x 8 tokens of width 48 in float32; without augmentation a copy is the volume itself.
    told = {"frozen_blocks": blocks, "copies": 1, "dtype": "float32", "mosaics": 1}
    size = 64 // sam.patch
    bytes_ = size * size * sam.backbone.config.hidden_size * 4
    assert kept.pop("cache") == told | {"gib": round(bytes_ / 2**30, 6)}
    assert kept == plain
    assert not (tmp_path / "kept" / "_cache").exists()


@pytest.mark.parametrize(("dtype", "error"), [("float32", 1e-6), ("float16", 2e-3)])
def test_answers_behind_the_cache_are_those_of_the_same_pixels(sam, tmp_path, dtype, error):
    mosaics, adapted = cached(sam, CacheSettings(copies=2, dtype=dtype))
    mosaics.open(tmp_path, None)
    drawn = mosaics.sample(3, np.random.default_rng(0))
    pixels = [mosaics._pixels(volume, copy)[0][m] for volume, copy, m in mosaics._slots]
    images = torch.from_numpy(np.stack(pixels)).expand(-1, 3, -1, -1)
    features = torch.stack([mosaics.features(*entry) for entry in mosaics._slots])
    assert all(any(torch.equal(f, known) for known in features) for f in drawn.images)
    with torch.no_grad():
        behind = mosaics.answer(adapted)(features, False)[0]
        whole = adapted.answer(images, False)[0]
    assert (behind - whole).abs().max() < error * max(1.0, float(whole.abs().max()))


def test_a_mosaic_passes_the_frozen_blocks_once(sam, tmp_path, monkeypatch):
    from loops.tuning import cache

    calls, run = [], cache.prefix

    def counted(*args):
        calls.append(args)
        return run(*args)

    monkeypatch.setattr(cache, "prefix", counted)
    given = replace(SHORT, iterations=8, augment=TURNS, cache=CACHE)
    record = finetune([box()], sam, build("head"), STITCHER, given, tmp_path, 0)
    assert len(calls) == record["cache"]["mosaics"] == 2  # one mosaic, two copies


@pytest.mark.slow
def test_a_cut_cached_training_ends_as_an_uncut_one(sam, tmp_path, monkeypatch):
    given = replace(SHORT, augment=TURNS, cache=replace(CACHE, dtype="float16"), batch=2)
    given = replace(given, teacher=TeacherSettings(decay=0.5))
    args = ([box(), box("other", 1)], sam, build("decoder"), STITCHER, given)
    record = finetune(*args, tmp_path / "whole", 3)
    step = stage._Training.step

    def killed(training, iteration):
        if iteration == 3:
            raise KeyboardInterrupt
        return step(training, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(stage._Training, "step", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune(*args, tmp_path / "parts", 3)
    assert (tmp_path / "parts" / "_cache" / "features.bin").exists()
    assert finetune(*args, tmp_path / "parts", 3) == record
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_features_beyond_the_bound_are_computed_anew(sam, tmp_path):
    whole = cached(sam)[0]
    one = whole.entry_bytes
    small = cached(sam, replace(CACHE, max_gib=1.5 * one / 2**30))[0]
    for mosaics, folder in ((whole, "whole"), (small, "small")):
        (tmp_path / folder).mkdir()
        mosaics.open(tmp_path / folder, None)
    for seed in range(4):
        first, second = (m.sample(2, np.random.default_rng(seed)) for m in (whole, small))
        assert torch.equal(first.images, second.images)
        assert torch.equal(first.target, second.target)
    assert (tmp_path / "small/_cache/features.bin").stat().st_size == one
    assert small.told()["mosaics"] == 1
    assert whole.told()["mosaics"] > 1
    tight, _ = cached(sam, replace(CACHE, max_gib=0.5 * one / 2**30))
    with pytest.raises(ConfigError, match=r"max_gib: .* holds not one mosaic"):
        tight.open(tmp_path, None)


def test_boundary_maps_move_with_a_copy(sam, tmp_path):
    mosaics, _ = cached(sam)
    mosaics.open(tmp_path, None)

    def maps(index):
        return mosaics.mask(index)[None].astype(np.float32)

    drawn = mosaics.sample(2, np.random.default_rng(3), maps=maps)
    seen = drawn.target != 255
    # The mask is moved by nearest neighbours, the maps linearly: they differ at borders only.
    differs = (drawn.maps[:, 0] > 0.5) ^ (drawn.target == 1)
    assert (drawn.target == 1).any()
    assert differs[seen].float().mean() < 0.02


def test_copies_differ_where_something_is_random(sam, tmp_path):
    mosaics, _ = cached(sam)
    assert mosaics.copies == 2
    assert not np.array_equal(mosaics._pixels(0, 0)[0], mosaics._pixels(0, 1)[0])
    assert cached(sam, views=NO_AUGMENT)[0].copies == 1
    with pytest.raises(TrainingError, match="not open"):
        mosaics.sample(1, np.random.default_rng(0))
    assert not LabeledMosaics([box()], STITCHER, NO_AUGMENT, 64, sam.patch).random


@pytest.mark.parametrize("arm", [{"name": "lora"}, {"name": "full"}, {"name": "lora", "last": 4}])
def test_a_cache_where_nothing_is_frozen_is_refused(sam, tmp_path, arm):
    made = build(arm["name"], {k: v for k, v in arm.items() if k != "name"})
    given = replace(SHORT, cache=CACHE)
    with pytest.raises(ConfigError, match=r"trains the vision trunk from its first block.*last"):
        finetune([box()], sam, made, STITCHER, given, tmp_path, 0)


def test_features_that_half_precision_cannot_hold_are_named(sam, tmp_path):
    mosaics, adapted = cached(sam, CacheSettings(dtype="float16"))
    mosaics.open(tmp_path, None)
    adapted.hidden = lambda images, blocks: torch.full((1, *mosaics.shape), 1e6)
    with pytest.raises(TrainingError, match=r"case (box|other) are not finite.*bfloat16"):
        mosaics.sample(1, np.random.default_rng(0))


def test_levers_that_are_off_change_no_key():
    assert {"cache", "teacher"}.isdisjoint(keyed(FinetuneSettings()))
    on = keyed(FinetuneSettings(cache=CacheSettings(), teacher=TeacherSettings()))
    assert on["cache"] == {"copies": 4, "dtype": "float16"}
    plain = parse_run({"learner": "sfr_mean_teacher"}, "test")
    same_ = parse_run({"learner": "sfr_mean_teacher", "finetune": {"cache": None}}, "test")
    assert plain.key == same_.key
    other = parse_run({"learner": "sfr_mean_teacher", "finetune": {"cache": {}}}, "test")
    assert plain.key != other.key


# --- the teacher ------------------------------------------------------------------------------


def test_the_running_mean_of_what_was_trained_is_saved(sam, tmp_path):
    given = replace(SHORT, teacher=TeacherSettings(decay=0.5), iterations=3)
    seen = []
    step = stage._Training.step

    def watched(training, iteration):
        loss = step(training, iteration)
        seen.append({n: p.detach().clone() for n, p in training.parameters.items()})
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage._Training, "step", watched)
        record = finetune([box()], sam, build("head"), STITCHER, given, tmp_path, 0)
    saved = dict(load_adapted(sam, tmp_path).named_parameters())
    first, second, third = seen
    for name, value in first.items():
        # a = min(0, .5), min(1/2, .5), min(2/3, .5): copy, half, half.
        mean = 0.5 * (0.5 * value + 0.5 * second[name]) + 0.5 * third[name]
        assert torch.allclose(saved[name], mean, atol=1e-7)
    assert record["teacher"]["updates"] == 3
    assert record["teacher"]["own_bytes"] == 4 * record["trainable_parameters"]


@pytest.mark.slow
def test_a_teacher_changes_what_is_saved_and_not_what_is_trained(sam, tmp_path):
    plain = finetune([box()], sam, build("lora"), STITCHER, SHORT, tmp_path / "plain", 0)
    given = replace(SHORT, teacher=TeacherSettings())
    mean = finetune([box()], sam, build("lora"), STITCHER, given, tmp_path / "mean", 0)
    assert mean["last_loss"] == plain["last_loss"]
    assert not same(tmp_path / "plain", tmp_path / "mean")
    names = set(trainable(build("lora").adapt(sam, 0)))
    assert names <= set(dict(load_adapted(sam, tmp_path / "mean").named_parameters()))


def test_a_mean_of_nothing_is_refused(sam, tmp_path):
    given = replace(SHORT, teacher=TeacherSettings())
    with pytest.raises(ConfigError, match=r"finetune\.teacher: the arm trains nothing"):
        finetune([box()], sam, build("zero_shot"), STITCHER, given, tmp_path, 0)


def test_carried_moments_and_a_mean_exclude_one_another():
    values = {
        "learner": "sfr_plus_mean_teacher",
        "sfr_plus": {"optimiser": "carried", "dropout_passes": 0},
        "finetune": {"teacher": {}},
    }
    with pytest.raises(ConfigError, match=r"finetune\.teacher.*sfr_plus\.optimiser"):
        parse_run(values, "test")


@pytest.mark.slow
def test_mining_goes_with_a_cache(sam, tmp_path):
    mining = NegativeSettings(prompt=True, slice=True, pixel=True, boundary=True)
    given = replace(SHORT, cache=CACHE, mining=mining, augment=TURNS)
    record = finetune([box()], sam, build("head"), STITCHER, given, tmp_path, 0)
    assert record["cache"]["mosaics"] >= 1
