"""A pretext in a run: whose images, what is told, where the trunk is found."""

import json

import numpy as np
import pytest
import tiny
import torch
import yaml
from typer.testing import CliRunner

from loops.cell import describe
from loops.config import parse_run
from loops.pretraining.alone import pretext_configs
from loops.pretraining.pool import PoolPictures
from loops.pretraining.trunk import cases_of
from loops.progress import Progress
from loops.stitch import Stitcher, StitchSettings
from loops.studies.study import load_study
from loops.workbench import Workbench
from salearn.errors import ConfigError, DataError
from salearn.models.pixels import Window
from salearn.models.pretexts.trunk import TRUNK_FILE, trunk_parameters
from salearn.store import read_json, read_lines

MAE = {"name": "mae", "iterations": 1, "batch": 1, "hold_out": 0.2, "decoder": {"depth": 1}}
SAM = {"resolution": 64}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("pretext")


def bench(place, out="run", pretext=None, **changes):
    values = tiny.values(place, sam=SAM, pretext=pretext or MAE) | changes
    return Workbench(parse_run(values | {"out": str(place / out)}, "t"), Progress(enabled=False))


def test_the_trunk_is_trained_once_and_found_by_every_cell(place):
    first, second = bench(place), bench(place, "other", draw_seed=1, train_seed=5)
    assert first.sam_key == second.sam_key
    stored = {n: p.detach() for n, p in trunk_parameters(first.sam).items()}
    assert [line["stage"] for line in read_lines(first.out / "trainings.jsonl")] == ["trunks"]
    found = trunk_parameters(second.sam)
    assert not (second.out / "trainings.jsonl").exists()
    assert all(torch.equal(found[n], p) for n, p in stored.items())
    plain = bench(place, pretext="none")
    assert plain.sam_key != first.sam_key
    name = "vision_encoder.backbone.layers.0.mlp.fc1.weight"
    assert not torch.equal(trunk_parameters(plain.sam)[name], stored[name])
    assert not (first.out / "queries.jsonl").exists()  # no mask was opened


def test_what_was_learned_from_is_written_down(place):
    made = bench(place)
    made.sam  # noqa: B018  (trains, or finds)
    told = read_json(made.out / "pretext.json")
    cases = made.trunk.cases
    # 9 phantoms: 2 test, 1 validation, 6 in the pool, of which round(0.2 * 6) = 1 is held out
    assert (len(cases.fit), len(cases.held_out), cases.scored) == (5, 1, ())
    assert {*cases.fit, *cases.held_out} == set(made.split.pool)
    assert told["images"]["fit"] == {case: made.key(case) for case in cases.fit}
    assert told["transductive"] is False
    assert told["drift"]["images"] >= 1
    assert told["fit"]["iterations"] == 1
    folder = made.store.path("trunks", made.trunk.key)
    assert {p.name for p in folder.iterdir()} == {
        TRUNK_FILE, "record.json", "drift.json", "fit.json", "train.jsonl"
    }  # fmt: skip


def test_other_images_settings_or_stitching_are_another_trunk(place):
    key = bench(place).trunk.key
    others = [
        bench(place, pretext=MAE | {"form": "B"}),
        bench(place, pretext=MAE | {"seed": 1}),
        bench(place, stitch={"tile": [24, 24], "fit": "crop"}),
        bench(place, sam={"resolution": 96}),
    ]
    keys = [other.trunk.key for other in others]
    assert len({key, *keys}) == 5
    assert bench(place, learner={"name": "mean_teacher"}).trunk.key == key


def test_learning_from_scored_images_is_declared_and_told(place):
    with pytest.raises(ConfigError, match="transductive: true"):
        bench(place, pretext=MAE | {"pool": "all"})
    declared = bench(place, "all", MAE | {"pool": "all", "transductive": True})
    cases = declared.trunk.cases
    assert len(cases.fit) + len(cases.held_out) == 9
    assert set(cases.scored) == {*declared.split.validation, *declared.split.test}
    describe(declared)
    record = read_json(declared.out / "run.json")
    assert record["transductive"] is True
    assert record["pretext"]["scored"] == sorted(cases.scored)
    assert {"guard": "pretext", "level": "warning"}.items() <= record["guards"][-1].items()
    honest = bench(place, "honest")
    describe(honest)
    assert read_json(honest.out / "run.json")["transductive"] is False


def test_held_out_patients_are_not_learned_from(place, monkeypatch):
    made = bench(place)
    twins = {case: f"p{i // 2}" for i, case in enumerate(sorted(made.cases))}
    monkeypatch.setattr(Workbench, "patients", twins)
    for seed in range(5):
        given = made.config.build_pretext()
        found = cases_of(made, type(given)(hold_out=0.4, seed=seed))
        assert not {twins[c] for c in found.fit} & {twins[c] for c in found.held_out}
        assert found.held_out
        assert not {*found.fit, *found.held_out} & {*made.split.test, *made.split.validation}
    with pytest.raises(DataError, match="none learned from"):
        cases_of(made, type(given)(hold_out=0.99))


def test_pretext_and_arm_are_factors_of_a_study(tmp_path):
    values = tiny.values(tmp_path, learner="sfr_mean_teacher")
    mae = [MAE | {"form": form} for form in "AB"]
    values["study"] = {
        "out": str(tmp_path / "study"),
        "factors": {"pretext": ["none", *mae], "arm": ["lora", {"name": "head"}]},
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(values))
    study = load_study(path)
    assert len({cell.key for cell in study.cells}) == 6
    configs = pretext_configs(path)
    assert sorted(c.pretext["form"] for c in configs) == ["A", "B"]  # arms share a trunk
    plain = parse_run({k: v for k, v in study.cells[0].values.items() if k != "pretext"}, "t")
    assert plain.key == study.cells[0].key  # "none" is as before there were pretexts
    with pytest.raises(ConfigError, match="nothing here has a pretext"):
        pretext_configs(tiny.write(tmp_path))


def test_a_form_that_the_weights_cannot_take_is_refused_before_anything_is_made(place):
    wrong = bench(place, pretext=MAE | {"form": "C", "resolution": 64})
    with pytest.raises(ConfigError, match="form C shows one attention window"):
        wrong.sam  # noqa: B018


def volumes():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(1, 10, depth, 12)).astype(np.float32) for depth in (3, 7)]


def test_plain_pictures_are_the_mosaics_of_fine_tuning():
    stitcher = Stitcher(StitchSettings(tile=(16, 16), fit="crop"), axis=1)
    made = PoolPictures(volumes(), stitcher, 32, 8)  # four tiles: 1 and 2 mosaics
    assert len(made) == 3
    layout = stitcher.layout((10, 3, 12), 32, 8)
    expected = layout.stitch(Window.of(volumes()[0]).scaled(volumes()[0]))
    assert torch.equal(made.plain(3)[:1, :1], torch.from_numpy(expected))
    assert made.plain(99).shape == (3, 3, 32, 32)
    assert torch.equal(made.plain(2), made.plain(3)[[0, 2]])
    single = PoolPictures(volumes(), Stitcher(StitchSettings(policy="single"), 1), 32, 8)
    assert len(single) == 10


def test_augmented_pictures_show_a_part_of_every_slice_alike():
    stitcher = Stitcher(StitchSettings(tile=(16, 16), fit="crop"), axis=1)
    same = PoolPictures(volumes()[:1], stitcher, 32, 8)
    assert torch.equal(same.draw(1, np.random.default_rng(0)), same.plain(1))
    ramp = [np.broadcast_to(np.arange(10.0)[:, None, None], (1, 10, 3, 12)).astype(np.float32)]
    made = PoolPictures(ramp, stitcher, 32, 8, crop=(0.4, 0.4), flips=(0,))
    seen = set()
    for seed in range(6):
        one = made.draw(1, np.random.default_rng(seed))[0, 0]
        tiles = [one[y : y + 16, x : x + 16] for y, x in ((0, 0), (0, 16), (16, 0))]
        assert all(torch.equal(tile, tiles[0]) for tile in tiles)  # slices are alike here
        column = tiles[0][3:13, 8]  # the slice lies in the middle of its tile
        seen.add(float(column[0]) > float(column[-1]))
        # sqrt(0.4) = 0.63 of the rows: 6 of 10, so 5/9 of the range of -1..1
        assert float(column.max() - column.min()) == pytest.approx(2 * 5 / 9, abs=0.15)
    assert seen == {True, False}  # flipped, and not


@pytest.mark.slow
def test_the_verb_prints_the_drift_and_the_run_finds_the_trunk(tmp_path):
    from loops.cli import app

    path = tiny.write(tmp_path, sam=SAM, pretext=MAE, learner="sfr_supervised", budget=[1])
    order = ["pretrain", "--pretext", str(path), "--out", str(tmp_path / "told"), "--json"]
    done = CliRunner().invoke(app, order)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)["trunks"][0]
    assert set(found["zero_shot"]) == {"test", "validation"}
    assert set(found["zero_shot"]["test"]) == {"before", "after"}
    assert found["drift"]["cka"] <= 1
    opened = {line["purpose"] for line in read_lines(tmp_path / "told" / "queries.jsonl")}
    assert opened == {"test", "validation"}
    told = CliRunner().invoke(app, order[:-1])
    assert "zero-shot Dice, test:" in told.stdout
    assert "linear CKA" in told.stdout
    assert CliRunner().invoke(app, ["run", str(path)]).exit_code == 0
    stages = [line["stage"] for line in read_lines(tmp_path / "run" / "trainings.jsonl")]
    assert sorted(set(stages)) == ["adapters", "students"]  # the trunk was there
    refused = CliRunner().invoke(app, [*order, "--steps", "3"])
    assert refused.exit_code == 2
