"""The simulation protocol: shared start, query sizes, tied seeds, replay of another run."""

from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

from loops.cell import run_cell
from loops.config import parse_run
from loops.progress import Progress
from loops.studies.replays import refuse_other_split
from loops.studies.study import Study, load_study, run_config
from salearn.errors import ConfigError
from salearn.querylog import export_run, write_query_log
from salearn.store import read_json, read_lines

QUIET = Progress(enabled=False)


def study(folder: Path, section: dict[str, Any], **changes: Any) -> Study:
    path = folder / "study.yaml"
    values = {k: v for k, v in tiny.values(folder, **changes).items() if k != "out"}
    path.write_text(yaml.safe_dump(values | {"study": {"out": str(folder / "s")} | section}))
    return load_study(path)


def test_query_sizes_share_start_end_and_budgets() -> None:
    base = {"budget": [2, 4, 8, 16, 32]}
    half = parse_run(base | {"query_size": 0.5}, "x")
    double = parse_run(base | {"query_size": 2}, "x")
    assert half.totals(100) == (2, 3, 4, 6, 8, 12, 16, 24, 32)  # nnActive: 5 loops become 9 and 3
    assert double.totals(100) == (2, 8, 32)
    assert (half.num_rounds, double.num_rounds) == (9, 3)


def test_a_budget_can_be_a_total_and_a_size() -> None:
    made = parse_run({"budget": {"total": 10, "size": 4, "start": 1}}, "x")
    assert made.budget == (1, 5, 9, 10)
    with pytest.raises(ConfigError, match=r"write .2, 4, 8. or"):
        parse_run({"budget": {"total": 10, "sise": 4}}, "x")
    with pytest.raises(ConfigError, match="1 <= start <= total"):
        parse_run({"budget": {"total": 10, "size": 4, "start": 11}}, "x")


def test_a_start_set_is_the_first_budget_or_comes_before_it() -> None:
    assert parse_run({"budget": [4, 8], "start": {"units": 2}}, "x").totals(9) == (2, 4, 8)
    assert parse_run({"budget": [4, 8], "start": {"units": 4}}, "x").totals(9) == (4, 8)
    with pytest.raises(ConfigError, match="more than the first budget 4"):
        parse_run({"budget": [4, 8], "start": {"units": 5}}, "x")
    with pytest.raises(ConfigError, match="whole numbers"):
        parse_run({"budget": [0.1, 0.5], "query_size": 0.5}, "x")
    with pytest.raises(ConfigError, match="neither m nor 1/m"):
        parse_run({"budget": [2, 4], "query_size": 0.7}, "x")


def test_tied_factors_move_together(tmp_path: Path) -> None:
    factors = {"strategy": ["random", "dkd"], "draw_seed": [0, 1, 2]}
    made = study(tmp_path, {"factors": factors, "tied": {"train_seed": "draw_seed"}})
    assert len(made.cells) == 6
    runs = [run_config(cell) for cell in made.cells]
    assert all(run.draw_seed == run.train_seed for run in runs)
    with pytest.raises(ConfigError, match="must tie keys that are no factors"):
        study(tmp_path, {"factors": factors, "tied": {"train_seed": "colour"}})


def test_an_unknown_limit_or_start_is_refused_before_anything_runs() -> None:
    with pytest.raises(ConfigError, match="did you mean 'per_patient'"):
        parse_run({"strategy": {"name": "dkd", "limits": {"per_patent": 1}}}, "x")
    with pytest.raises(ConfigError, match="unknown strategy 'rondom'"):
        parse_run({"budget": [2, 4], "start": {"units": 2, "strategy": "rondom"}}, "x")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two rounds: random, with a shared start and a bound on its seconds."""
    folder = tmp_path_factory.mktemp("protocol")
    values = tiny.values(
        folder, start={"units": 1}, strategy={"name": "random", "limits": {"per_patient": 1}}
    )
    run_cell(parse_run(values, "first"), QUIET)
    return folder


@pytest.mark.slow
def test_a_replayed_run_asks_for_the_same_units_and_trains_another_learner(first: Path) -> None:
    log = first / "log.jsonl"
    write_query_log(export_run(first / "run"), log)
    values = tiny.values(first, strategy={"name": "replay", "log": str(log)}, train_seed=1)
    values["out"] = str(first / "again")
    run = parse_run(values, "again")
    log.unlink()  # the settings hold the order themselves
    run_cell(run, QUIET)
    logs = [read_lines(first / name / "rounds.jsonl") for name in ("run", "again")]
    picks = [[record["selected"] for record in log] for log in logs]
    assert picks[0] == picks[1]
    assert read_json(first / "again" / "run.json")["factors"]["strategy"] == "replay_random"
    assert export_run(first / "again").head["hashes"] == export_run(first / "run").head["hashes"]


@pytest.mark.slow
def test_a_study_replays_every_run_below_a_folder(first: Path) -> None:
    section = {
        "factors": {"learner": ["supervised", "mean_teacher"]},
        "replay": {"of": str(first / "run"), "where": {"strategy": "random"}},
    }
    made = study(first, section)
    assert len(made.cells) == 2
    runs = [run_config(cell) for cell in made.cells]
    assert {run.learner_name for run in runs} == {"supervised", "mean_teacher"}
    assert {tuple(run.strategy["order"]) for run in runs} == {export_run(first / "run").units}
    with pytest.raises(ConfigError, match="no run below"):
        study(first, section | {"replay": {"of": str(first / "run"), "where": {"strategy": "dkd"}}})


@pytest.mark.slow
def test_queries_of_another_split_are_refused_by_part(first: Path) -> None:
    split = read_json(first / "run" / "split.json")
    refuse_other_split({"pool": split["parts"]["pool"]["sha256"], "test": None}, split)
    with pytest.raises(ConfigError, match="another test"):
        refuse_other_split({"pool": None, "test": "0" * 64}, split)
