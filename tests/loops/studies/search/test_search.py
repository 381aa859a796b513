"""A search: on frozen cases of the pool that are paid for, reproducible, never across budgets."""

import sys
from pathlib import Path
from typing import Any

import pytest
import tiny
import yaml

from loops.config import load_run
from loops.progress import Progress
from loops.studies.search import engines
from loops.studies.search.proxy import freeze
from loops.studies.search.records import Record
from loops.studies.search.search import Search, distributions, load_search, search
from loops.studies.search.settings import SearchSettings
from loops.studies.search.tuned import refuse_seen, with_tuned
from loops.studies.study import load_study
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.store import read_json, read_lines, write_json

QUIET = Progress(enabled=False)
RATE = "student.learning_rate"
SPACE = {RATE: {"low": 1e-4, "high": 1e-1, "log": True}, "learner.weight": [0.1, 1.0]}


def write(folder: Path, **section: Any) -> Path:
    """A config whose pool has six cases: two to train on, one to validate on."""
    folder.mkdir(exist_ok=True)
    values = tiny.values(folder, learner="mean_teacher", sinks=[]) | {
        "search": {
            "space": SPACE, "masks": 2, "validation": 1, "trials": 2, "reports": 2,
            "backend": "serial", "out": str(folder / "search"),
        } | section
    }  # fmt: skip
    path = folder / "search.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"space": {}}, "name at least one setting"),
        ({"space": {"budget": [[1], [2]]}}, "choose between budgets"),
        ({"space": {"strategy.name": ["random", "dkd"]}}, "only inner settings"),
        ({"space": {"learner.name": ["cps", "bcp"]}}, "only inner settings"),
        ({"space": {RATE: [0.1]}}, "two values or more"),
        ({"space": {RATE: {"low": 1, "hihg": 2}}}, "did you mean 'high'"),
        ({"space": {RATE: {"low": 0.0, "high": 1.0, "log": True}}}, "low > 0 with log"),
        ({"space": {"student.widht": [4, 8]}}, "did you mean 'width'"),
        ({"space": {"student.patch": [[16, 16, 16], [7, 7, 7]]}}, "divisible"),
        ({"scheduler": "pbt"}, "own budget did not pay for"),
        ({"scheduler": "asha"}, "search.backend=ray"),
        ({"scheduler": "asha", "stage": "sam", "backend": "ray"}, "equal steps of the student"),
    ],
)
def test_a_space_beyond_one_cell_is_refused_with_the_reason(
    tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load_search(write(tmp_path, **section))


def test_a_search_is_of_one_cell_of_a_study(tmp_path: Path) -> None:
    path = write(tmp_path)
    values = yaml.safe_load(path.read_text())
    factors = {"learner": ["mean_teacher", "cps"], "draw_seed": [0, 1]}
    path.write_text(yaml.safe_dump(values | {"study": {"out": "s", "factors": factors}}))
    with pytest.raises(ConfigError, match=r"learner is a factor.*learner=mean_teacher"):
        load_search(path)
    found = load_search(path, ["learner=mean_teacher"])
    assert found.config({RATE: 0.5}).student.learning_rate == 0.5
    assert load_study(path).cells  # the section is no setting of the cells


def test_without_optuna_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"salearn\[tune\]"):
        distributions(SearchSettings(space=SPACE))


def test_the_proxy_is_of_the_pool_paid_for_and_frozen(tmp_path: Path) -> None:
    found = load_search(write(tmp_path))
    bench = Workbench(found.config({}), QUIET)
    proxy = freeze(bench, found.settings)
    seen = {*proxy.train, *proxy.validation}
    assert len(seen) == 3
    assert seen <= set(bench.split.pool)
    lines = read_lines(found.out / "queries.jsonl")
    assert {(line["purpose"], line["unit"]) for line in lines} == {("annotate", c) for c in seen}
    assert proxy.record["spent"]["cases"] == 3
    pool = proxy.pool(bench)
    assert set(pool.labeled) == set(proxy.train)
    assert not set(pool.unlabeled) & seen  # no network ever sees a validation image
    assert freeze(Workbench(found.config({}), QUIET), found.settings).record == proxy.record
    write_json(found.out / "proxy.json", proxy.record | {"hash": "another"})
    with pytest.raises(ConfigError, match="begun on other cases"):
        freeze(bench, found.settings)


@pytest.mark.slow
def test_an_interrupted_search_ends_like_one_that_was_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = search(load_search(write(tmp_path / "calm")), QUIET)
    assert (calm["trials"], calm["ran"], calm["counts"]) == (3, 3, {"done": 3})
    cut = load_search(write(tmp_path / "cut"))
    real, begun = engines.one_trial, []

    def interrupted(*given: Any) -> Any:
        begun.append(given[2])
        if len(begun) == 2:
            raise KeyboardInterrupt
        return real(*given)

    with monkeypatch.context() as patch:
        patch.setattr(engines, "one_trial", interrupted)
        with pytest.raises(KeyboardInterrupt):
            search(cut, QUIET)
    again = search(cut, QUIET)
    assert again["ran"] == 1
    for key in ("trials", "counts", "best", "baseline", "overrides", "masks"):
        assert again[key] == calm[key], key
    trained = [line["stage"] for line in read_lines(cut.out / "trainings.jsonl")]
    assert trained == ["searched"] * 3
    assert search(cut, QUIET)["ran"] == 0
    curves = [read_json(path)["curve"] for path in (cut.out / "trials").glob("*.json")]
    assert all([line["step"] for line in curve] == [2, 4] for curve in curves)
    assert_usable(cut, tmp_path)


def assert_usable(found: Search, folder: Path) -> None:
    """The YAML of overrides is what `tuned` takes."""
    best = yaml.safe_load((found.out / "best.yaml").read_text())
    assert best["dice"] >= best["dice_as_it_stood"]
    config = load_run(
        tiny.write(folder, learner="mean_teacher"), [f"tuned={found.out / 'best.yaml'}"]
    )
    assert config.tuned is not None
    assert config.tuned["hash"] == best["proxy"]["hash"]


def test_a_trial_is_done_once_its_last_report_is_written(tmp_path: Path) -> None:
    record = Record(tmp_path, "k", {RATE: 0.1}, last=8)
    record.report(4, 0.3)
    assert record.found is None
    record.report(8, 0.4)  # ASHA ends the process of a trial that has come to the last rung
    found = Record(tmp_path, "k", {}, last=8).found
    assert found is not None
    assert (found["dice"], [line["step"] for line in found["curve"]]) == (0.4, [4, 8])


def stored(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "best.yaml"
    proxy = {"hash": "h", "train": ["case_1", "case_2"], "validation": ["case_3"], "spent": {}}
    values = {"overrides": {RATE: 0.25, "learner.weight": 0.7}, "proxy": proxy}
    path.write_text(yaml.safe_dump(values))
    return path


def test_overrides_win_over_the_file_and_the_command_line_over_both(tmp_path: Path) -> None:
    file = stored(tmp_path)
    path = tiny.write(tmp_path, learner="mean_teacher", tuned=str(file))
    config = load_run(path)
    assert config.student.learning_rate == 0.25
    assert config.learner == {"name": "mean_teacher", "weight": 0.7}
    assert load_run(path, [f"{RATE}=0.5"]).student.learning_rate == 0.5
    same = load_run(
        tiny.write(tmp_path, learner={"name": "mean_teacher", "weight": 0.7}), [f"{RATE}=0.25"]
    )
    assert same.key == config.key  # what is computed, not where it comes from
    assert config.tuned is not None
    assert with_tuned({"tuned": config.tuned}) == {"tuned": config.tuned}  # no file needed twice
    with pytest.raises(ConfigError, match="not what a search writes"):
        load_run(path, [f"tuned={path}"])


def test_a_study_names_the_result_and_its_factors_win(tmp_path: Path) -> None:
    values = {k: v for k, v in tiny.values(tmp_path).items() if k not in ("out", "store")}
    section = {"out": str(tmp_path / "s"), "factors": {RATE: [0.1, 0.2]}}
    path = tmp_path / "study.yaml"
    values |= {"learner": "mean_teacher", "tuned": str(stored(tmp_path)), "study": section}
    path.write_text(yaml.safe_dump(values))
    cells = load_study(path).cells
    assert [cell.values["student"]["learning_rate"] for cell in cells] == [0.1, 0.2]
    assert {cell.values["learner"]["weight"] for cell in cells} == {0.7}


def test_settings_chosen_on_test_cases_are_refused() -> None:
    tuned = {"train": ["a"], "validation": ["b"]}
    refuse_seen(tuned, (CaseId("c"),))
    refuse_seen(None, (CaseId("a"),))
    with pytest.raises(ConfigError, match="chosen on b, which are test cases"):
        refuse_seen(tuned, (CaseId("b"), CaseId("c")))
