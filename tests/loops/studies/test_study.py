"""Study files become cells; every slip is refused before anything runs."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

from loops.studies.study import Study, load_study
from salearn.errors import ConfigError


def study(folder: Path, section: dict[str, Any], changes: tuple[str, ...] = ()) -> Study:
    path = folder / "study.yaml"
    values = {k: v for k, v in tiny.values(folder).items() if k not in ("out", "store")}
    section = {"out": str(folder / "study")} | section
    path.write_text(yaml.safe_dump(values | {"study": section}, sort_keys=False))
    return load_study(path, changes)


FACTORS = {"strategy": ["random", "dkd"], "learner": ["supervised"], "draw_seed": [0, 1, 2]}


def test_cells_are_all_combinations_less_the_excluded(tmp_path: Path) -> None:
    made = study(tmp_path, {"factors": FACTORS, "exclude": [{"strategy": "dkd", "draw_seed": 2}]})
    assert len(made.cells) == 2 * 3 - 1
    assert len({cell.key for cell in made.cells}) == 5
    assert all(not cell.done for cell in made.cells)
    assert made.cells[0].name.startswith("random__supervised__draw_seed-0__")


def test_a_key_depends_on_what_is_computed_and_not_on_where(tmp_path: Path) -> None:
    a = study(tmp_path, {"factors": FACTORS})
    b = study(tmp_path, {"factors": FACTORS, "out": str(tmp_path / "other")}, ("threads=2",))
    c = study(tmp_path, {"factors": FACTORS}, ("student.iterations=5",))
    assert [x.key for x in a.cells] == [x.key for x in b.cells]
    assert {x.key for x in a.cells}.isdisjoint(x.key for x in c.cells)


def test_adding_a_seed_keeps_the_keys_of_the_others(tmp_path: Path) -> None:
    few = study(tmp_path, {"factors": FACTORS})
    more = study(tmp_path, {"factors": FACTORS | {"draw_seed": [0, 1, 2, 3]}})
    assert {cell.key for cell in few.cells} < {cell.key for cell in more.cells}


def test_settings_of_a_strategy_can_be_a_factor(tmp_path: Path) -> None:
    made = study(tmp_path, {"factors": {"strategy": ["dkd"], "strategy.gate": [0.0, 0.05]}})
    assert [cell.values["strategy"] for cell in made.cells] == [
        {"name": "dkd", "gate": 0.0},
        {"name": "dkd", "gate": 0.05},
    ]


@pytest.mark.parametrize(
    ("section", "changes", "message"),
    [
        ({"factors": {"strategy": ["rondom"]}}, (), "unknown strategy 'rondom'.*'random'"),
        ({"factors": {"learner": ["sfr_mean_techer"]}}, (), "did you mean 'sfr_mean_teacher'"),
        ({"factors": {"strategy": []}}, (), "at least one value"),
        ({"factors": {"draw_sed": [1]}}, (), "did you mean 'draw_seed'"),
        ({"factor": {}}, (), "did you mean 'factors'"),
        ({"factors": {"draw_seed": [1, 1]}}, (), "compute the same thing"),
        ({"exclude": [{"x": 1}]}, (), "no factors of this study"),
        ({}, ("budget=[4, 2]",), "rise strictly"),
        ({}, ("student.widht=4",), "did you mean 'width'"),
        ({}, ("strategy.gaet=1", "strategy.name=dkd"), "did you mean 'gate'"),
    ],
)
def test_a_slip_names_the_nearest_right_word(
    section: dict[str, Any], changes: tuple[str, ...], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        study(tmp_path, section, changes)
