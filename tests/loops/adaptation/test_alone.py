"""Learner "sam" on pictures: rates by validation, an external set, resume, prediction."""

from pathlib import Path

import pytest

from loops.cell import run_cell
from loops.config import parse_run
from loops.measuring.predict import predict_files
from loops.studies.parts import jobs_of
from loops.studies.study import load_study, run_config
from salearn.data.ultrasound import UltrasoundSettings, write_ultrasound
from salearn.errors import ConfigError, DataError
from salearn.models.arms.registry import ARMS
from salearn.report.runs import read_runs
from salearn.store import read_json, read_lines

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("us") / "data"
    write_ultrasound(root, 16, UltrasoundSettings(size=(40, 48), external=4, empty=0.1))
    return root


def values(root: Path, out: Path, **more) -> dict:
    rates = {"lora": [1e-4, 1e-2], "full": [1e-4, 1e-2]}
    return {
        "learner": "sam", "arm": {"name": "lora", "rank": 2}, "budget": [0.25, 1.0],
        "data": {"root": str(root), "split": {"test": 4, "validation": 3}},
        "sam": {"weights": "tiny", "resolution": 32}, "stitch": {"policy": "single"},
        "finetune": {"iterations": 2}, "out": str(out), "store": str(out.parent / "store"),
        "adaptation": {
            "choose_rate": "first", "rates": rates, "external": {"root": str(root / "external")}
        },
        "auc": {"levels": ["pixel_micro", "image"]},
    } | more  # fmt: skip


@pytest.mark.parametrize("name", ["adaptation_study", "adaptation_hippocampus"])
def test_the_studies_that_ship_are_whole(name: str) -> None:
    study = load_study(CONFIGS / f"{name}.yaml")
    arms = [cell.values["arm"] for cell in study.cells]
    assert {a if isinstance(a, str) else a["name"] for a in arms} == {"zero_shot", "full", "lora"}
    config = run_config(study.cells[0])
    assert config.alone
    assert config.budget == (0.1, 0.25, 0.5, 1.0)
    for cell in study.cells:
        run = run_config(cell)
        assert run.draw_seed == run.train_seed
        if run.arm["name"] != "zero_shot":
            assert len(run.adaptation.grid(run.arm["name"], run.build_arm())) == 3


def test_a_rate_needs_validation_cases_and_the_place_the_same_task(
    pictures: Path, tmp_path: Path
) -> None:
    bare = {"data": {"root": str(pictures), "split": {"test": 4}}}
    with pytest.raises(ConfigError, match="there are none"):
        run_cell(parse_run(values(pictures, tmp_path / "a", **bare), "test"))
    own = {"adaptation": {"external": {"root": str(pictures)}}, "arm": "zero_shot"}
    with pytest.raises(DataError, match="no external result"):
        run_cell(parse_run(values(pictures, tmp_path / "b", **own), "test"))
    other = {"external": {"root": str(pictures / "external"), "classes": {"cyst": 255}}}
    with pytest.raises(ConfigError, match=r"adaptation\.external\.classes"):
        changed = {"adaptation": other, "arm": "zero_shot"}
        run_cell(parse_run(values(pictures, tmp_path / "c", **changed), "test"))


@pytest.mark.slow
def test_a_run_chooses_its_rate_once_tests_elsewhere_and_goes_on(
    pictures: Path, tmp_path: Path
) -> None:
    config = parse_run(values(pictures, tmp_path / "run"), "test")
    assert run_cell(config)["ran"] == 2
    first, second = read_lines(tmp_path / "run" / "rounds.jsonl")
    tries = first["rate"]["tries"]
    assert [one["rate"] for one in tries] == [1e-4, 1e-2]
    best = max(tries, key=lambda one: one["validation_dice"])["rate"]
    assert first["rate"]["chosen"] == second["rate"]["chosen"] == best
    assert "tries" not in second["rate"]
    assert {row["split"] for row in second["metrics"]} == {"validation", "test", "external"}
    assert {row["split"] for row in second["points"]} == {"test", "external"}
    assert {row["split"] for row in second["auc"]} == {"validation", "test", "external"}
    assert {(r["split"], r["predictor"]) for r in second["trivial"]} == {
        (split, name) for split in ("test", "external") for name in ("everything", "centre")
    }
    assert second["keys"]["student"] is None
    _checks_of_the_folder(tmp_path / "run", config.key)
    assert run_cell(config)["ran"] == 0


def _checks_of_the_folder(out: Path, key: str) -> None:
    cases = read_lines(out / "cases.jsonl")
    away = {row["case"] for row in cases if row["split"] == "external"}
    assert len(away) == 4
    assert all(case.startswith("external:us_") for case in away)
    # the masks of the other place are opened as test masks, in a log of their own
    opened = {line["unit"] for line in read_lines(out / "external" / "queries.jsonl")}
    assert opened == {case.removeprefix("external:") for case in away}
    assert read_json(out / "external.json")["dataset"] == "UltrasoundExternal"
    costs = read_lines(out / "costs.jsonl")
    assert [line["round"] for line in costs] == [0, 0, 1]  # two rates, then the chosen one
    assert len(read_lines(out / "trainings.jsonl")) == 3
    assert (out / "models" / "round_001" / "adapter").is_symlink()
    (run,) = read_runs([out]).runs
    assert (run.key, run.record["arm"]) == (key, "lora(rank=2)")


@pytest.mark.slow
def test_zero_shot_trains_nothing_and_segments_files(pictures: Path, tmp_path: Path) -> None:
    config = parse_run(values(pictures, tmp_path / "zero", arm="zero_shot"), "test")
    run_cell(config)
    rounds = read_lines(tmp_path / "zero" / "rounds.jsonl")
    assert rounds[0]["metrics"] == rounds[1]["metrics"]
    assert not (tmp_path / "zero" / "trainings.jsonl").exists()
    image = next((pictures / "imagesTr").glob("*.png"))
    (file,) = predict_files(tmp_path / "zero", [image], tmp_path / "out")
    assert file.suffix == ".png"


def test_budgets_that_share_a_rate_are_not_run_side_by_side(tmp_path: Path) -> None:
    changes = [f"study.out={tmp_path / 's'}", "study.parallel_budgets=true"]
    study = load_study(CONFIGS / "adaptation_study.yaml", changes)
    told: list[str] = []
    assert all(job.round is None for job in jobs_of(study, study.cells, told.append))
    assert "learning rate of the first" in told[0]


def test_every_arm_has_a_grid_of_one_size() -> None:
    assert {len(ARMS.cls(name).RATES) for name in ARMS.available()} == {3}
