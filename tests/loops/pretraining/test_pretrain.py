"""Pretraining: the same numbers from one recipe, cut or whole, and masks that fit the words."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from loops.pretraining import run as stage
from loops.pretraining.data import Batch, Phase, View, draw_batch
from loops.pretraining.recipe import PretrainSettings, learning_rate, phase_of, recipe_hash
from loops.pretraining.run import CHECKPOINT, LOG, export, pretrain, pretrain_loss
from loops.stitch import Stitcher, StitchSettings
from salearn.data.procedural import CODE_VERSION, SceneSettings
from salearn.errors import ConfigError, TrainingError, WeightsError
from salearn.models.pretexts.mae import Mae
from salearn.models.sam3 import SamSettings, load_sam
from salearn.models.sam3_tiny import SamSize
from salearn.settings import dump, parse
from salearn.store import content_key, read_lines

SIZE = SamSize(resolution=64, width=16, layers=2, global_layers=(1,), dim=8, vocabulary=96)
MOSAIC = View(canvas=64, batch=2, step=8.0)
SINGLE = View(mode="single", canvas=32, batch=2, slices=3, step=8.0)
PHASES = (
    Phase(share=0.5, prompts=1, kinds=("central",), views=(MOSAIC,)),
    Phase(share=0.5, prompts=3, views=(MOSAIC, SINGLE)),
)


def recipe(**changes):
    values = {"steps": 4, "size": SIZE, "curriculum": PHASES, "checkpoint_every": 2, "log_every": 1}
    return PretrainSettings(**(values | changes))


def stitcher(single, tile, axis):
    shown = StitchSettings(tile=(tile, tile), fit="crop")
    return Stitcher(StitchSettings(policy="single") if single else shown, axis)


def weights(out):
    return torch.load(out / CHECKPOINT, weights_only=True)["average"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that was not cut."""
    out = tmp_path_factory.mktemp("whole")
    pretrain(recipe(), stitcher, out)
    return out


def test_a_training_that_was_cut_ends_bit_for_bit_where_a_whole_one_does(whole, tmp_path):
    def cut(done, steps, values):
        if done == 3:  # after the checkpoint at 2: step 3 is made again
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(recipe(), stitcher, tmp_path, report=cut)
    pretrain(recipe(), stitcher, tmp_path, resume=True)
    expected, found = weights(whole), weights(tmp_path)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert read_lines(tmp_path / LOG) == read_lines(whole / LOG)


@pytest.mark.slow
def test_another_seed_gives_other_weights(whole, tmp_path):
    pretrain(recipe(steps=1, seed=1), stitcher, tmp_path)
    one, other = weights(whole), weights(tmp_path)
    name = "vision_encoder.backbone.layers.0.mlp.fc1.weight"
    assert not torch.equal(one[name], other[name])


def test_what_the_prompts_run_through_is_trained_text_tower_included(whole):
    state = torch.load(whole / CHECKPOINT, weights_only=True)
    start, _ = stage.new_mini(SIZE, 0)
    before = start.state_dict()
    moved = {n.split(".")[0] for n, v in state["model"].items() if not torch.equal(v, before[n])}
    assert {"vision_encoder", "text_encoder", "text_projection"} <= moved
    assert {"detr_encoder", "mask_decoder"} <= moved
    assert moved.isdisjoint({"detr_decoder", "geometry_encoder"})  # not on the semantic path


def test_exported_weights_load_as_any_sam3_and_give_what_was_trained(whole):
    sam = load_sam(SamSettings(weights=str(whole / "mini")), ["anterior part", "whatsit"])
    state = weights(whole)
    assert sam.resolution == 64
    for name, value in sam.model.state_dict().items():
        assert torch.allclose(value, state[name].half().float(), atol=1e-6)
    logits = sam(torch.zeros(1, 3, 64, 64))
    assert logits.shape == (1, 2, 64, 64)
    record = json.loads((whole / "mini" / "recipe.json").read_text())
    assert record["recipe_hash"] == recipe_hash(recipe())
    assert record["steps_done"] == 4


def test_a_folder_with_a_training_is_not_trained_over(whole, tmp_path):
    with pytest.raises(ConfigError, match="go on with --resume"):
        pretrain(recipe(), stitcher, whole)
    with pytest.raises(ConfigError, match="another recipe"):
        pretrain(recipe(learning_rate=1e-4), stitcher, whole, resume=True)
    with pytest.raises(ConfigError, match="no checkpoint"):
        export(recipe(), tmp_path)


def test_a_damaged_checkpoint_is_refused(whole, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes((whole / CHECKPOINT).read_bytes()[:5000])
    with pytest.raises(WeightsError, match="damaged"):
        pretrain(recipe(), stitcher, tmp_path, resume=True)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path):
    with pytest.raises(TrainingError, match="at step"):
        pretrain(recipe(learning_rate=1e30, clip=1e30, warmup=0), stitcher, tmp_path)


def test_how_often_it_is_saved_does_not_change_the_recipe():
    assert recipe_hash(recipe()) == recipe_hash(recipe(checkpoint_every=7, log_every=3))
    assert recipe_hash(recipe()) != recipe_hash(recipe(steps=5))


def test_phases_follow_their_shares_and_must_fill_the_training():
    given = recipe(steps=10)
    assert [phase_of(given, step) == PHASES[0] for step in range(10)] == [True] * 5 + [False] * 5
    half = {"curriculum": [{"share": 0.5, "views": [{}]}]}
    with pytest.raises(ConfigError, match=r"curriculum: the shares sum to 0\.5"):
        parse(PretrainSettings, half, "recipe")


def test_the_rate_rises_and_falls_as_written():
    given = recipe(steps=100, warmup=0.1, learning_rate=1.0)
    assert learning_rate(given, 0) == pytest.approx(0.1)  # 1/10
    assert learning_rate(given, 9) == learning_rate(given, 10) == 1.0
    assert learning_rate(given, 55) == pytest.approx(0.5)  # half of the 90 that are left
    assert learning_rate(given, 99) < 1e-3


def test_the_loss_by_hand():
    """Two prompts, two pixels and a row of void; the second prompt means nothing here."""
    truth = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    known = torch.tensor([[[[1.0, 1.0], [0.0, 0.0]]]])
    batch = Batch(
        images=torch.zeros(1, 3, 2, 2), truth=truth, known=known, prompts=["a", "b"], kinds=["a"]
    )
    logits = torch.zeros(1, 2, 2, 2)
    logits[:, :, 1] = 50.0  # void: must not count
    loss, score = pretrain_loss(logits, batch, recipe())
    entropy = (3 + 1 + 1 + 1) * math.log(2) / 4  # the positive pixel counts 3 times
    dice = (2 * 0.5 + 1) / (0.5 + 0.5 + 1 + 1)  # of the first prompt alone
    assert float(loss) == pytest.approx(2 * entropy + 1 - dice)
    assert score[0, 0] == 0  # a logit of 0 is not above the threshold
    assert torch.isnan(score[0, 1])


@pytest.mark.parametrize("view", [MOSAIC, SINGLE])
def test_a_batch_holds_every_volume_with_every_prompt(view):
    phase = Phase(share=1.0, prompts=3, views=(view,))
    for seed in range(4):
        rng = np.random.default_rng(seed)
        batch = draw_batch(phase, SceneSettings(), stitcher, 8, rng)
        images = view.batch * (view.slices if view.mode == "single" else 1)
        assert batch.images.shape == (images, 3, view.canvas, view.canvas)
        assert len(batch.prompts) == len(batch.kinds) == batch.truth.shape[1] <= 3
        assert set(batch.truth.unique().tolist()) <= {0.0, 1.0}
        assert float(batch.images.abs().max()) <= 1
        assert (batch.truth * (1 - batch.known)).sum() == 0  # nothing is meant in void
        assert batch.truth[:, 0].any()


def test_both_halves_lie_side_by_side_in_the_order_of_the_slices():
    """Coronal slices go in ascending order, so the anterior part is in the later tiles."""
    view = View(canvas=96, batch=1, step=5.0)
    phase = Phase(share=1.0, prompts=2, kinds=("part",), views=(view,), axes=(0, 1, 0))
    found = 0
    for seed in range(16):
        batch = draw_batch(
            phase, SceneSettings(anatomy=1), stitcher, 8, np.random.default_rng(seed)
        )
        words = [next(iter(set(p.split()) & {"anterior", "posterior"}), "") for p in batch.prompts]
        if set(words) == {"anterior", "posterior"} and batch.truth.sum((0, 2, 3)).min() > 60:
            places = [np.argwhere(batch.truth[0, i].numpy()) // 32 for i in (0, 1)]
            tiles = [(3 * place[:, 0] + place[:, 1]).mean() for place in places]  # row by row
            assert tiles[words.index("anterior")] > tiles[words.index("posterior")]
            found += 1
    assert found > 1


def test_the_verb_trains_and_says_where_the_weights_are(tmp_path):
    from loops.cli import app

    path = tmp_path / "recipe.yaml"
    path.write_text(
        "size: {resolution: 64, width: 16, layers: 1, global_layers: [0], dim: 8, vocabulary: 96}\n"
        "curriculum:\n  - {share: 1.0, prompts: 1, views: [{canvas: 64, step: 8.0}]}\n"
    )
    order = ["pretrain", str(path), "--steps", "1", "--out", str(tmp_path / "out"), "--json"]
    done = CliRunner().invoke(app, order)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["steps_done"] == 1
    assert (tmp_path / "out" / "mini" / "model.safetensors").exists()


MAE = Mae(
    resolution=64, iterations=3, batch=2, check_every=1, held_out_pictures=2, learning_rate=1e-3
)


def test_a_trunk_that_completed_pictures_is_where_prompts_begin(whole, tmp_path):
    given = recipe(steps=1, mae=MAE, learning_rate=1e-9, warmup=0)
    pretrain(given, stitcher, tmp_path)
    (work,) = tmp_path.glob("mae-*")
    told = json.loads((work / "fit.json").read_text())
    assert told["iterations"] == 3
    assert told["loss_after"] < told["loss_before"]
    start = stage.new_mini(SIZE, 0)[0].state_dict()
    found = weights(tmp_path)
    moved = {n for n in start if (found[n] - start[n]).abs().max() > 1e-5}
    assert moved
    assert all(name.startswith("vision_encoder.backbone") for name in moved)


def test_a_pretraining_that_was_cut_while_completing_pictures_goes_on(tmp_path):
    given = recipe(steps=1, mae=replace(MAE, checkpoint_every=1))
    pretrain(given, stitcher, tmp_path / "whole")

    def cut(done, steps, values):
        if "loss" in values and steps == 3 and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain(given, stitcher, tmp_path / "cut", report=cut)
    pretrain(given, stitcher, tmp_path / "cut")
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(expected[name], found[name]) for name in expected)


def test_pictures_that_no_view_shows_are_refused_and_those_there_are_named(tmp_path):
    given = recipe(mae=replace(MAE, resolution=96))
    with pytest.raises(ConfigError, match="mosaic of 64 pixels, single of 32 pixels"):
        pretrain(given, stitcher, tmp_path)


def test_a_recipe_without_pictures_to_complete_keeps_its_name():
    values = dump(recipe())
    for name in ("checkpoint_every", "log_every", "device", "mae"):
        values.pop(name)
    assert recipe_hash(recipe()) == content_key("pretrain", CODE_VERSION, values)
    assert recipe_hash(recipe(mae=MAE)) != recipe_hash(recipe())
    assert recipe_hash(recipe(mae=MAE)) != recipe_hash(recipe(mae=replace(MAE, mask=0.5)))


@pytest.mark.parametrize("setting", [{"hold_out": 0.2}, {"flips": (0,)}, {"crop": (0.5, 1.0)}])
def test_what_scenes_have_no_use_for_is_refused_by_name(setting):
    with pytest.raises(ConfigError, match=f"mae.{next(iter(setting))}: generated scenes"):
        parse(PretrainSettings, {"mae": setting}, "recipe")
