"""A run's settings: every shipped config is valid, keys say what is computed."""

from functools import partial
from pathlib import Path

import pytest

from loops.config import RunConfig, load_run, parse_run
from loops.itv.config import load_itv
from loops.pretraining.recipe import PretrainSettings
from loops.studies.study import load_study
from salearn.config import load, read_yaml
from salearn.errors import ConfigError
from salearn.settings import dump

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
STUDIES = [path for path in CONFIGS if "study" in read_yaml(path)]
OTHERS = {
    "first_mask": load_run,
    "hard_negatives": load_itv,
    "itv": load_itv,
    "pretrain_mini": partial(load, PretrainSettings),
}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_shipped_study_is_valid(path: Path) -> None:
    study = load_study(path)
    assert len(study.cells) >= 4
    assert all(cell.num_rounds >= 2 for cell in study.cells)


@pytest.mark.parametrize("path", sorted(set(CONFIGS) - set(STUDIES)), ids=lambda path: path.stem)
def test_every_other_shipped_config_is_read_by_its_verb(path: Path) -> None:
    OTHERS[path.stem](path)


def test_where_a_run_lies_is_not_part_of_its_key() -> None:
    base = RunConfig()
    for change in ({"out": "x"}, {"store": "y"}, {"threads": 2}, {"save_predictions": True}):
        assert parse_run(change, "t").key == base.key
    assert parse_run({"student": {"device": "cuda"}}, "t").key == base.key
    assert parse_run({"train_seed": 1}, "t").key != base.key


def test_the_written_config_gives_the_same_run_again() -> None:
    run = parse_run({"strategy": {"name": "dkd", "gate": 0.1}, "learner": "sfr_mean_teacher"}, "t")
    again = parse_run(dump(run), "t")
    assert again == run
    assert again.key == run.key
    assert run.sfr
    assert run.learner_name == "sfr_mean_teacher"


def test_strategies_look_along_the_axis_of_the_data() -> None:
    run = parse_run({"strategy": "asd", "data": {"axis": 1}}, "t")
    assert getattr(run.build_strategy(), "axis", None) == 1
    own = parse_run({"strategy": {"name": "asd", "axis": 0}, "data": {"axis": 1}}, "t")
    assert getattr(own.build_strategy(), "axis", None) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"strategy": {"gate": 1}}, "strategy: give a name"),
        ({"learner": {"name": "mean_teacher", "wieght": 1}}, "did you mean 'weight'"),
        ({"learner": "sfr_"}, "unknown learner 'sfr_'"),
        ({"budget": []}, "at least one number"),
        ({"unit": "voxel"}, "unit"),
        ({"patches": {"size": [8, 8, 8], "stride": [9, 8, 8]}}, "could never be annotated"),
        ({"data": {"axis": 3}}, "axis"),
        ({"evidence": {"views": 0}}, "views"),
    ],
)
def test_what_cannot_be_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_run(values, "t")
