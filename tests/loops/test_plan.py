"""`salearn plan`: what a config costs, without weights, data or training."""

import json
from pathlib import Path

import pytest

from loops.config import parse_run
from loops.plan import expected_hours, measure_step, plan_run, render, trainings
from salearn.models import cost
from salearn.models.arms.registry import build
from salearn.store import write_lines

SMALL = {"weights": "tiny", "resolution": 64}


def values(out: Path, **more) -> dict:
    return {"out": str(out), "sam": SMALL, "budget": [1, 2, 4], "sinks": [], **more}


def test_a_plan_is_plain_values_and_counts_trainings(tmp_path: Path) -> None:
    config = parse_run(values(tmp_path / "run", learner="sfr_mean_teacher"), "test")
    found = plan_run(config, config.build_arm())
    json.dumps(found, allow_nan=False)
    assert found["trainings"] == {"rounds": 3, "students": 3, "adapters": 3}
    assert found["sam"]["trainable"]["all"] < found["sam"]["parameters"]["all"]
    assert found["hours"]["core_hours"] is None
    told = render(found)
    assert "GiB of a step" in told
    assert "unknown" in told
    assert not (tmp_path / "run").exists()  # nothing was opened or written
    bare = parse_run(values(tmp_path / "run"), "test")
    assert plan_run(bare, bare.build_arm())["sam"] is None
    plus = parse_run(values(tmp_path / "run", learner="sfr_plus_mean_teacher",
                            sfr_plus={"turns": 2, "dropout_passes": 0}), "test")  # fmt: skip
    assert trainings(plus)["students"] == 6


def test_hours_come_from_runs_beside_this_one(tmp_path: Path) -> None:
    rows = [{"round": k, "stage": "students", "cpu_seconds": s} for k, s in enumerate((30, 90))]
    write_lines(tmp_path / "earlier/timings.jsonl", rows)
    config = parse_run(values(tmp_path / "run", learner="sfr_mean_teacher"), "test")
    found = expected_hours(config)
    assert found["core_hours"] == pytest.approx(3 * 60 / 3600)  # three students of 60 s
    assert found["unknown"] == ["adapters"]


@pytest.mark.slow
def test_a_step_is_timed_with_random_weights(tmp_path: Path) -> None:
    config = parse_run(values(tmp_path / "run", learner="sfr_mean_teacher"), "test")
    sam = cost.unloaded_sam(config.sam, ("one",), "cpu")
    found = measure_step(sam, build("lora"), 1, amp=False)
    assert found["ms"] > 0
    assert found["peak_gib"] is None
