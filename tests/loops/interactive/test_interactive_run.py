"""The verb on phantoms: masks of the pool stay shut, clicks are the cost of a label."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import yaml
from typer.testing import CliRunner

from loops.cli import app
from loops.interactive.config import parse_interactive
from loops.interactive.run import run_interactive
from loops.progress import Progress
from salearn.data.phantoms import PhantomSettings, write_phantoms
from salearn.errors import ConfigError
from salearn.store import read_json, read_lines

QUICK = {
    "tracker": {"weights": "tiny", "resolution": 32}, "slices": 1, "cases": 1, "jitter": [0, 0.1],
    "max_clicks": 3, "dice_at": [0, 1, 3], "noc": [0.8], "resolution": 32,
    "text": {"templates": ["{}", "the {}"]}, "unlabeled": 1,
}  # fmt: skip
SAM = {"weights": "tiny", "resolution": 64}


def values(folder: Path, **asked: object) -> dict[str, object]:
    return tiny.values(folder, sam=SAM, interactive=QUICK | asked)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """A run on data whose masks of the pool are garbage, and its JSON."""
    folder = tmp_path_factory.mktemp("interactive")
    given = values(folder)
    write_phantoms(folder / "data", 5, PhantomSettings())
    names = sorted(p.name for p in (folder / "data" / "labelsTr").glob("*.nii.gz"))
    test = names[0].removesuffix(".nii.gz")
    for name in names[1:]:
        (folder / "data" / "labelsTr" / name).write_bytes(gzip.compress(b"garbage"))
    split = {"test": [test], "validation": 0}
    given["data"] = {"root": str(folder / "data"), "axis": 1, "split": split}
    file = folder / "interactive.yaml"
    file.write_text(yaml.safe_dump(given))
    done = CliRunner().invoke(app, ["interactive", str(file), "--json"])
    assert done.exit_code == 0, done.output
    return folder, json.loads(done.stdout)


def test_prompts_of_unlabeled_cases_open_no_mask(
    poisoned: tuple[Path, dict[str, object]],
) -> None:
    folder, result = poisoned
    (row,) = result["unlabeled"]
    lines = read_lines(folder / "run" / "interactive" / "queries.jsonl")
    assert [line["purpose"] for line in lines] == ["test"]
    assert row["case"] not in {line["unit"] for line in lines}
    assert (folder / "run" / "interactive" / "unlabeled" / f"{row['case']}.nii.gz").exists()
    # Looking at every slice costs, and so does every box.
    assert row["seconds"] == 2.0 * row["slices"] + 7.0 * row["boxes"] + 3.0 * row["clicks"]


def test_the_table_names_models_columns_and_every_text(
    poisoned: tuple[Path, dict[str, object]],
) -> None:
    folder, result = poisoned
    assert "random weights" in result["models"]["tracker"]["states"]
    assert {row["mode"] for row in result["table"]} == {
        "text", "box", "tracker_box", "points", "clicks",
    }  # fmt: skip
    for row in result["texts"]:
        assert len(row["texts"]) == 2
        assert row["worst"]["dice"] <= row["mean"] <= row["best"]["dice"]
    text = {r["class"]: r["automated_dice"] for r in result["table"] if r["mode"] == "text"}
    start = {r["class"]: r["automated_dice"] for r in result["table"] if r["setting"] == "0 clicks"}
    assert text == pytest.approx(start)  # Dice@0 is the automated answer on the same slices
    out = folder / "run" / "interactive"
    assert read_json(out / "result.json")["table"] == result["table"]
    assert (out / "table.csv").read_text().startswith("mode,setting,class")


def test_another_evaluation_does_not_go_into_the_same_folder(
    poisoned: tuple[Path, dict[str, object]],
) -> None:
    folder, _ = poisoned
    given = yaml.safe_load((folder / "interactive.yaml").read_text())
    given["interactive"]["seed"] = 1
    with pytest.raises(ConfigError, match="evaluation of other settings"):
        run_interactive(parse_interactive(given, "test"), Progress(enabled=False))


def test_a_prompt_for_an_unknown_class_is_refused_before_anything_is_opened(
    poisoned: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    folder, _ = poisoned
    given = yaml.safe_load((folder / "interactive.yaml").read_text())
    given |= {"out": str(tmp_path / "run")}
    given["data"]["prompts"] = {"anteriro": "front"}
    with pytest.raises(ConfigError, match="did you mean 'anterior'"):
        run_interactive(parse_interactive(given, "test"), Progress(enabled=False))
    assert not (tmp_path / "run" / "interactive" / "queries.jsonl").exists()


@pytest.mark.slow
def test_labels_by_clicks_cost_the_clicks(tmp_path: Path) -> None:
    asked = {"labels": 1, "unlabeled": 0, "modes": ["clicks"], "max_clicks": 1, "dice_at": [0, 1]}
    given = values(tmp_path, **asked)
    result = run_interactive(parse_interactive(given, "test"), Progress(enabled=False))
    (row,) = result["labels"]
    out = tmp_path / "run" / "interactive"
    lines = {(line["purpose"], line["unit"]): line for line in read_lines(out / "queries.jsonl")}
    line = lines["annotate", row["case"]]
    assert line["seconds"] == row["seconds"] == 2.0 * row["slices"] + 3.0 * row["clicks"]
    assert row["clicks"] > 0
    assert ("audit", row["case"]) in lines
    assert (out / line["file"]).exists()
    # Drawing is paid by unit and slice: 30 s + 20 s a slice with foreground.
    assert (row["drawing_seconds"] - 30) % 20 == 0
    again = run_interactive(parse_interactive(given, "test"), Progress(enabled=False))
    assert again["labels"] == result["labels"]
    assert not np.isnan(row["dice"])
