"""Sinks: what they show, that they find their run again, and that they stop nothing."""

import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from loops.cell import run_cell
from loops.config import RunConfig, parse_run
from loops.sinks.fan import SINKS, Sinks
from salearn.errors import ConfigError
from salearn.report.runs import FREE_KEYS

FACTORS = {
    **{"dataset": "d", "strategy": "random", "learner": "mean_teacher"},
    **{"draw_seed": 0, "train_seed": 1},
}
RUN = {"key": "k1", "factors": FACTORS, "budget": [1, 2], "unit": "volume"}
LINES = [{"iteration": i, "loss": 1 / (i + 1)} for i in range(3)]


def record(k: int) -> dict[str, Any]:
    row = {"split": "test", "stage": "student", "class": "mean", "dice": 0.5 + k / 8}
    row |= {"hd95_mm": float("nan"), "nsd": None}
    return {"round": k, "num_labeled": k + 1, "metrics": [row], "cost": {"masks": k + 1}}


def show(name: str, out: Path, rounds: tuple[int, ...] = (0, 1)) -> list[str]:
    """Show two rounds in one sink; what it warned of."""
    said: list[str] = []
    pictures = out / "overlays"
    pictures.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 8, 3), 7, np.uint8)).save(pictures / "case_1.png")
    with Sinks((name,), said.append) as sinks:
        sinks.describe(RUN, out)
        for k in rounds:
            sinks.round(record(k))
            sinks.pictures(pictures, k + 1)
            sinks.curves("student", k, LINES)
    return said


class Fake:
    """Takes every call and attribute, and writes down the calls."""

    def __init__(self, calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]], path: str) -> None:
        self._calls, self._path = calls, path

    def __getattr__(self, name: str) -> Any:
        return Fake(self._calls, f"{self._path}.{name}")

    def __call__(self, *args: Any, **named: Any) -> Any:
        self._calls.append((self._path, args, named))
        return Fake(self._calls, f"{self._path}()")


def events(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_holds_scalars_curves_images_and_settings(tmp_path: Path) -> None:
    assert show("tensorboard", tmp_path) == []
    found = events(tmp_path / "tensorboard")
    dice = [(e.step, e.value) for e in found.Scalars("dice/test/student/mean")]
    assert dice == [(1, 0.5), (2, 0.625)]
    assert [e.step for e in found.Scalars("train/student/round_001/loss")] == [0, 1, 2]
    assert not any(tag.startswith(("hd95_mm", "nsd")) for tag in found.Tags()["scalars"])
    images = found.Images("overlay/case_1")
    assert [(e.step, e.width, e.height) for e in images] == [(1, 8, 6), (2, 8, 6)]
    assert found.Scalars("final/dice/test/student/mean")[0].value == 0.625
    plugins = found.summary_metadata
    start = plugins["_hparams_/session_start_info"].plugin_data.content
    for value in (b"strategy", b"random", b"1, 2"):
        assert value in start


def test_wandb_gets_one_run_per_key_and_its_own_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    monkeypatch.setitem(sys.modules, "wandb", Fake(calls, "wandb"))  # type: ignore[arg-type]
    out = tmp_path / "hippo" / "cells" / "k1"
    assert show("wandb", out) == []
    name, _, start = calls[0]
    assert name == "wandb.init"
    assert (start["id"], start["name"], start["group"]) == ("k1", "k1", "hippo")
    assert start["resume"] == "allow"
    assert "strategy:random" in start["tags"]
    assert start["config"]["budget"] == "1, 2"
    logged = [args[0] for name, args, _ in calls if name == "wandb.init().log"]
    dice = [
        (line["num_labeled"], line["dice/test/student/mean"])
        for line in logged
        if "cost/masks" in line
    ]
    assert dice == [(1, 0.5), (2, 0.625)]
    prefix = "train/student/round_000"
    lines = [line for line in logged if f"{prefix}/loss" in line]
    assert [line[f"{prefix}/iteration"] for line in lines] == [0, 1, 2]
    assert sum(name == "wandb.Image" for name, _, _ in calls) == 2
    assert [name for name, _, _ in calls][-2:] == [
        "wandb.init().summary.update",
        "wandb.init().finish",
    ]


class Client:
    """An MLflow client that keeps what it is given."""

    runs: dict[str, dict[str, Any]]

    def __init__(self, tracking_uri: str) -> None:
        self.uri = tracking_uri

    def get_experiment_by_name(self, name: str) -> Any:
        return types.SimpleNamespace(experiment_id=name)

    def search_runs(self, experiments: list[str], query: str) -> list[Any]:
        return [self._run(key) for key in self.runs if f"'{key}'" in query]

    def _run(self, key: str) -> Any:
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=key))

    def create_run(self, experiment: str, tags: dict[str, str], run_name: str) -> Any:
        start = {"experiment": experiment, "params": {}, "metrics": [], "images": [], "status": ""}
        self.runs[run_name] = start
        return self._run(run_name)

    def log_param(self, run: str, name: str, value: Any) -> None:
        assert name not in self.runs[run]["params"]
        self.runs[run]["params"][name] = value

    def log_batch(self, run: str, metrics: list[Any]) -> None:
        self.runs[run]["metrics"] += metrics

    def log_image(self, run: str, image: np.ndarray, artifact_file: str) -> None:
        self.runs[run]["images"].append((artifact_file, image.shape))

    def set_terminated(self, run: str, status: str | None = None) -> None:
        self.runs[run]["status"] = status or "FINISHED"

    def update_run(self, run: str, status: str) -> None:
        self.runs[run]["status"] = status


def fake_mlflow(monkeypatch: pytest.MonkeyPatch) -> type[Client]:
    class Fresh(Client):
        runs: dict[str, dict[str, Any]] = {}  # noqa: RUF012

    def metric(*values: Any) -> tuple[Any, ...]:
        return values

    module: Any = types.ModuleType("mlflow")
    module.MlflowClient = Fresh
    entities: Any = types.ModuleType("mlflow.entities")
    entities.Metric = metric
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return Fresh


def test_mlflow_goes_on_with_the_run_of_the_same_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = fake_mlflow(monkeypatch)
    out = tmp_path / "hippo" / "cells" / "k1"
    assert show("mlflow", out, (0,)) == []
    assert show("mlflow", out, (1,)) == []
    assert list(client.runs) == ["k1"]
    run = client.runs["k1"]
    assert run["experiment"] == "salearn/hippo"
    assert run["params"] == {**FACTORS, "budget": "1, 2", "unit": "volume"}
    assert run["status"] == "FINISHED"
    dice = [(m[1], m[3]) for m in run["metrics"] if m[0] == "dice/test/student/mean"]
    assert dice == [(0.5, 1), (0.625, 2)]
    assert [name for name, _ in run["images"]] == [
        "overlay/case_1/000001.png",
        "overlay/case_1/000002.png",
    ]


@pytest.mark.parametrize("method", ["open", "round", "curves", "image", "finish", "close"])
def test_a_sink_that_fails_is_left_out_with_one_warning(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*given: Any) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(SINKS["tensorboard"], method, broken)
    said = show("tensorboard", tmp_path)
    assert len(said) == 1
    assert "'tensorboard'" in said[0]
    assert "no network" in said[0]


def test_unknown_and_missing_sinks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="did you mean 'wandb'"):
        parse_run({"sinks": ["wandbb"]}, "test")
    with pytest.raises(ConfigError, match="once"):
        parse_run({"sinks": ["wandb", "wandb"]}, "test")
    monkeypatch.setattr(SINKS["mlflow"], "package", "no_such_package_here")
    with pytest.raises(ConfigError, match="pip install mlflow"):
        Sinks(("mlflow",), print)


def test_sinks_are_no_part_of_what_a_run_is() -> None:
    assert RunConfig().key == RunConfig(sinks=("mlflow", "wandb")).key == RunConfig(sinks=()).key
    assert "sinks" in FREE_KEYS


@pytest.mark.slow
def test_a_run_shows_slices_of_its_test_cases_and_shows_them_once(tmp_path: Path) -> None:
    config = parse_run(tiny.values(tmp_path, budget=[1]), "test")
    run_cell(config)
    folder = tmp_path / "run" / "tensorboard"
    found = events(folder)
    tags = found.Tags()["images"]
    assert len(tags) == 2
    assert all(len(found.Images(tag)) == 1 for tag in tags)
    written = {path: path.read_bytes() for path in folder.iterdir()}
    run_cell(config)
    assert {path: path.read_bytes() for path in folder.iterdir()} == written
