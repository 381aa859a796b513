"""What Ray is asked for: shares of cards, memory, a running cluster."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import quick_study

from loops import cli
from loops import sweep as module
from loops.studies.backends import ray_tune
from loops.studies.ledger import Ledger
from loops.studies.study import Study, load_study
from salearn.errors import ConfigError


class FakeTune:
    """Keeps what a Ray Tune experiment is made of, and runs nothing."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}

    def with_resources(self, function: Any, resources: Any) -> Any:
        self.asked["resources"] = resources
        return function

    @staticmethod
    def grid_search(values: list[Any]) -> list[Any]:
        return values

    @staticmethod
    def kept(**values: Any) -> SimpleNamespace:
        return SimpleNamespace(**values)

    TuneConfig = RunConfig = FailureConfig = kept

    def Tuner(self, function: Any, **asked: Any) -> SimpleNamespace:  # noqa: N802
        self.asked |= asked
        return SimpleNamespace(fit=lambda: [])


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> FakeTune:
    fake = FakeTune()

    @contextlib.contextmanager
    def ray_of(settings: Any) -> Iterator[FakeTune]:
        yield fake

    monkeypatch.setattr(ray_tune, "ray_of", ray_of)
    return fake


def test_a_trial_holds_its_share_of_cores_cards_and_memory(tmp_path: Path, tune: FakeTune) -> None:
    study = quick_study.make(
        tmp_path, cpu=2, gpu=0.25, memory_gb=3, parallel=5, retries=7, backend="ray"
    )
    assert ray_tune.execute(study, study.cells, Ledger(study.out)) == {}
    orders = tune.asked["param_space"]["cell"]
    assert [order["key"] for order in orders] == [cell.key for cell in study.cells]
    held = [tune.asked["resources"]({"cell": order}) for order in orders]
    assert held == [{"cpu": 2, "gpu": 0.25, "memory": 3 * 2**30}] * 3
    assert tune.asked["tune_config"].max_concurrent_trials == 5
    assert tune.asked["run_config"].failure_config.max_failures == 7


def test_budgets_side_by_side_are_trials_of_their_own(tmp_path: Path, tune: FakeTune) -> None:
    study = quick_study.make(tmp_path, seeds=[0], gpu=0.5, parallel_budgets=True, backend="ray")
    ray_tune.execute(study, study.cells, Ledger(study.out))
    orders = tune.asked["param_space"]["cell"]
    assert [order["part"]["round"] for order in orders] == [0, 1]
    assert [len(order["part"]["units"]) for order in orders] == [1, 2]
    assert tune.asked["resources"]({"cell": orders[1]}) == {"cpu": 1, "gpu": 0.5}


def test_a_running_cluster_is_joined_and_not_given_bounds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    given: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **asked: given.append(asked))
    monkeypatch.setattr(ray, "shutdown", lambda: given.append({"end": True}))
    joined = quick_study.make(tmp_path, ("study.address=10.0.0.1:6379",), backend="ray")
    with ray_tune.ray_of(joined.settings):
        pass
    assert given[0]["address"] == "10.0.0.1:6379"
    assert not {"num_cpus", "object_store_memory", "_temp_dir"} & given[0].keys()
    assert given[1] == {"end": True}  # this process leaves; the cluster stays
    own = quick_study.make(tmp_path, backend="ray", object_store_mb=100)
    with ray_tune.ray_of(own.settings):
        pass
    assert "address" not in given[2]
    assert given[2]["object_store_memory"] == 100 * 2**20

    def nobody(**_: Any) -> None:
        raise ConnectionError("refused")

    monkeypatch.setattr(ray, "init", nobody)
    with (
        pytest.raises(ConfigError, match=r"10\.0\.0\.1:6379: no Ray cluster.*ray start --head"),
        ray_tune.ray_of(joined.settings),
    ):
        pass


def test_the_address_of_the_command_line_reaches_the_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    quick_study.make(tmp_path)
    seen: list[Study] = []

    def sweep(study: Study, only: Any = ()) -> dict[str, Any]:
        seen.append(study)
        return {"results": [], "failed": 0}

    monkeypatch.setattr(module, "sweep", sweep)
    words = ["sweep", str(tmp_path / "study.yaml"), "study.gpu=0.25", "--backend", "ray"]
    monkeypatch.setattr(sys, "argv", ["salearn", *words, "--address", "auto", "--json"])
    with contextlib.suppress(SystemExit):
        cli.main()
    assert (seen[0].settings.address, seen[0].settings.gpu) == ("auto", 0.25)
    assert load_study(tmp_path / "study.yaml").settings.address == ""
