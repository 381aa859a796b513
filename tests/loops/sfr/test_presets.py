"""Presets and refusals: what a config may say about pseudo-labels, checked before training."""

from pathlib import Path
from typing import Any

import pytest

from loops.config import load_run, parse_run
from loops.pseudo import PseudoSettings
from loops.sfr.keys import told
from loops.sfr.presets import FOLDER, all_differences, differences, sentence
from loops.ssl.pseudo_label import PseudoLossSettings
from salearn.errors import ConfigError
from salearn.settings import dump

NAMES = ("sfr-fixed", "sfr-paper")


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_is_a_valid_run_that_differs_from_itself_in_nothing(name: str) -> None:
    run = parse_run({"preset": name}, "t")
    assert run.learner_name == "sfr_mean_teacher"
    assert differences(dump(run), name) == {}
    assert sentence(name, {}) == f"preset {name}: as it is"


def test_the_two_presets_differ_in_the_named_defects_alone() -> None:
    found = all_differences(dump(parse_run({"preset": "sfr-paper"}, "t")))
    assert sorted(found) == sorted(path.stem for path in FOLDER.glob("*.yaml")) == sorted(NAMES)
    assert found["sfr-paper"] == {}
    assert set(found["sfr-fixed"]) == {
        "learner.consistency", "stitch.policy", "finetune.void", "finetune.bezier",
        "pseudo.source", "pseudo_loss.void", "sfr_plus.reliable.estimator",
        "student.running_statistics",
    }  # fmt: skip
    assert found["sfr-fixed"]["finetune.bezier"] == {"preset": "unit", "run": "zscored"}


def test_what_a_config_sets_wins_over_its_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("learner: mean_teacher\nstudent: {iterations: 7}\n")
    run = load_run(path, ["preset=sfr-paper", "finetune.batch=1"])
    assert run.learner == parse_run({"preset": "sfr-paper"}, "t").learner | {"name": "mean_teacher"}
    assert (run.student.iterations, run.student.width, run.finetune.batch) == (7, 16, 1)
    assert "student.iterations 7 (preset: 6000)" in sentence(
        "sfr-paper", differences(dump(run), "sfr-paper")
    )
    other = load_run(path, ["preset=sfr-paper", "learner=supervised"])
    assert other.learner == {"name": "supervised"}  # settings of another host do not fit


def test_the_name_of_a_preset_is_not_part_of_the_key(tmp_path: Path) -> None:
    run = parse_run({"preset": "sfr-fixed"}, "t")
    assert parse_run(dump(run) | {"preset": None}, "t").key == run.key
    copy = tmp_path / "copy.yaml"
    copy.write_text((FOLDER / "sfr-fixed.yaml").read_text())
    assert parse_run({"preset": str(copy)}, "t").key == run.key


def test_an_unknown_preset_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'sfr-paper'"):
        parse_run({"preset": "sfr_papr"}, "t")


def test_later_fields_at_their_defaults_stay_out_of_keys() -> None:
    assert "void" not in told(PseudoLossSettings())
    assert told(PseudoLossSettings(void="background"))["void"] == "background"
    assert set(told(PseudoSettings())) == {"estimator", "keep", "threshold", "quantile"}


ONLINE = {"source": "online"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pseudo": {"threshold": 1.5}}, "threshold"),
        ({"pseudo_loss": {"voxel_threshold": -0.1}}, "voxel_threshold"),
        ({"gate": {"agreement": 1.1}}, "agreement"),
        ({"gate": {"weights": [0]}}, r"gate\.weights|weights"),
        ({"gate": {"weights": [-1, 1]}}, "weights"),
        ({"gate": {"folds": 1}}, "folds"),
        ({"sfr_plus": {"turns": 1}}, "turns"),
        ({"sfr_plus": {"reliable": {"threshold": 2}}}, "threshold"),
        ({"sfr_plus": {"sample": "box", "reliable": {"estimator": "views"}}}, "box"),
        ({"sfr_plus": {"optimiser": "carried", "sam": "restart"}}, "carried"),
        ({"learner": "sfr_plus_supervised", "sfr_plus": {"dropout_passes": 4}}, "dropout"),
        ({"learner": "sfr_plus_nothing"}, "unknown learner"),
        ({"pseudo": ONLINE, "gate": {"voxels": True}}, "online"),
        ({"pseudo": ONLINE, "selective": {"mode": "both"}}, "online"),
        ({"pseudo": ONLINE, "learner": "sfr_plus_supervised"}, "online"),
        ({"pseudo_loss": {"void": "background"}, "gate": {"voxels": True}}, "void"),
        ({"selective": {"weighted": True}}, "case_confidence"),
    ],
)
def test_what_excludes_itself_is_refused_before_training(
    values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run(values, "t")


def test_learners_of_three_kinds() -> None:
    kinds = {}
    for name in ("mean_teacher", "sfr_mean_teacher", "sfr_plus_mean_teacher"):
        run = parse_run({"learner": name, "sfr_plus": {"turns": 4}}, "t")
        kinds[name] = (run.host_name, run.sfr, run.plus, run.turns)
    assert kinds == {
        "mean_teacher": ("mean_teacher", False, False, 1),
        "sfr_mean_teacher": ("mean_teacher", True, False, 1),
        "sfr_plus_mean_teacher": ("mean_teacher", True, True, 4),
    }
