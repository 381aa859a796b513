"""salearn-mini: found in the package, named by its recipe, refused when broken."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from loops.pretraining.recipe import PretrainSettings, recipe_hash
from salearn.config import load
from salearn.errors import ConfigError, WeightsError
from salearn.models import sam3_mini
from salearn.models.sam3 import SamSettings, load_sam, sam_key
from salearn.models.sam3_mini import FOLDER, TextTower, mini_folder, new_mini, save_mini
from salearn.models.sam3_tiny import SamSize, tiny_config
from salearn.settings import parse

PROMPTS = ["anterior part", "posterior part"]
SIZE = SamSize(resolution=64, width=16, layers=2, global_layers=(1,), dim=8, vocabulary=96)
RECORD = {"recipe_hash": "0", "steps_done": 1, "parameters": 1}
shipped = pytest.mark.skipif(not FOLDER.exists(), reason="the weights are not in this checkout")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A small stand-in for the shipped folder."""
    model, tokenizer = new_mini(SIZE, 3)
    save_mini(model, tokenizer, RECORD, tmp_path / "mini")
    monkeypatch.setattr(sam3_mini, "FOLDER", tmp_path / "mini")
    return tmp_path / "mini"


def test_mini_is_the_folder_in_the_package(folder):
    assert mini_folder() == folder
    named = load_sam(SamSettings(weights="mini"), PROMPTS)
    by_path = load_sam(SamSettings(weights=str(folder)), PROMPTS)
    image = torch.rand(1, 3, 64, 64) * 2 - 1
    assert torch.equal(named(image), by_path(image))


def test_half_precision_on_disk_changes_nothing_that_counts(folder):
    model, _ = new_mini(SIZE, 3)
    sam = load_sam(SamSettings(weights="mini"), PROMPTS)
    state = sam.model.state_dict()
    for name, value in model.state_dict().items():
        if name in state:
            assert state[name].dtype == value.dtype
            assert torch.allclose(state[name], value, rtol=1e-3, atol=1e-4)


def test_its_key_follows_the_content_of_its_files(folder):
    before = sam_key(SamSettings(weights="mini"))
    assert before == sam_key(SamSettings(weights="mini", device="cpu"))
    assert before == sam_key(SamSettings())  # the default
    assert before != sam_key(SamSettings(weights="tiny"))
    other = folder.parent / "other"
    shutil.copytree(folder, other)
    (other / "recipe.json").write_text("{}")
    assert sam_key(SamSettings(weights=str(other))) != sam_key(SamSettings(weights=str(folder)))


def test_an_installation_without_the_weights_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(sam3_mini, "FOLDER", tmp_path / "nowhere")
    with pytest.raises(WeightsError, match="salearn pretrain"):
        load_sam(SamSettings(weights="mini"), PROMPTS)


def test_truncated_weights_are_refused(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(WeightsError, match="download them again"):
        load_sam(SamSettings(weights="mini"), PROMPTS)


@pytest.mark.parametrize("text", ["{", "[]", '{"vocabulary": 96}'])
def test_a_damaged_word_list_is_refused(folder, text):
    (folder / "word_tokenizer.json").write_text(text)
    with pytest.raises(WeightsError, match=r"word_tokenizer\.json: damaged"):
        load_sam(SamSettings(weights="mini"), PROMPTS)


def test_a_resolution_between_windows_is_refused_with_what_fits(folder):
    with pytest.raises(ConfigError, match="250 is not a multiple of the attention window of 32"):
        load_sam(SamSettings(weights="mini", resolution=250), PROMPTS)


def test_unknown_words_are_taken_but_not_two_that_sound_the_same(folder):
    sam = load_sam(SamSettings(weights="mini"), ["anterior hippocampus", "posterior hippocampus"])
    assert len(sam.prompts) == 2
    with pytest.raises(ConfigError, match="the same tokens"):
        load_sam(SamSettings(weights="mini"), ["left part", "Left  part!"])
    with pytest.raises(ConfigError, match="1 to 6 words"):
        load_sam(SamSettings(weights="mini"), ["the left part of the large bright object"])


def test_the_text_tower_by_itself_gives_what_the_whole_model_gives():
    model, tokenizer = new_mini(SIZE, 0)
    ids, mask = tokenizer.encode(PROMPTS)
    whole = model.get_text_features(input_ids=ids, attention_mask=mask, return_dict=True)
    assert torch.equal(TextTower.of(model)(ids, mask), whole.pooler_output)


def test_impossible_sizes_are_refused():
    with pytest.raises(ConfigError, match="multiple of 4 x heads"):
        parse(SamSize, {"width": 36, "heads": 4}, "size")
    with pytest.raises(ConfigError, match="global_layers"):
        parse(SamSize, {"layers": 2, "global_layers": [2]}, "size")


def test_the_default_size_is_tiny():
    assert tiny_config().to_dict() == tiny_config(SamSize()).to_dict()


@shipped
def test_the_shipped_weights_are_of_the_shipped_recipe():
    recipe = Path(__file__).parents[3] / "configs" / "pretrain_mini.yaml"
    record = json.loads((FOLDER / "recipe.json").read_text())
    given = load(PretrainSettings, recipe)
    assert record["recipe_hash"] == recipe_hash(given)
    assert record["recipe_hash"] in (FOLDER / "README.md").read_text()
    assert 1e6 <= record["parameters"] <= 4e6
    assert (FOLDER / "model.safetensors").stat().st_size < 10e6


@shipped
def test_the_shipped_weights_find_the_halves_of_a_plain_object():
    """A bright tube on dark ground, along y: both halves are told apart without one mask."""
    import numpy as np

    from loops.stitch import Stitcher, StitchSettings
    from salearn.models.sam3_segmenter import SamSegmenter

    grid = np.stack(np.meshgrid(*(np.arange(n) - n / 2 for n in (32, 50, 32)), indexing="ij"))
    inside = (grid[0] ** 2 + grid[2] ** 2 < 36) & (np.abs(grid[1]) < 18)
    noise = np.random.default_rng(0).normal(0, 0.05, inside.shape)
    image = (inside * 0.6 + noise).astype(np.float32)[None]
    sam = load_sam(SamSettings(weights="mini", resolution=256), PROMPTS)
    stitcher = Stitcher(StitchSettings(tile=(32, 32), fit="crop"), 1)
    labels = next(iter(SamSegmenter(sam, stitcher).predict([image]))).argmax(0)
    for label, side in ((1, grid[1] > 4), (2, grid[1] < -4)):
        truth = inside & side
        found = (labels == label) & (np.abs(grid[1]) > 4)
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.6
