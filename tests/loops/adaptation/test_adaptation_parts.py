"""Grids of equal size, labels of arms, Dice by threshold by hand, what a training took."""

from pathlib import Path

import numpy as np
import pytest

from loops.adaptation.costs import checkpoint_bytes, measured
from loops.adaptation.points import DiceCurves, point_rows
from loops.adaptation.settings import AdaptationSettings, arm_label
from loops.adaptation.trivial import centre, mean_share
from loops.config import parse_run
from loops.plan import trainings
from salearn.errors import ConfigError
from salearn.metrics.operating import operating_points
from salearn.models.arms.registry import build
from salearn.settings import parse

RATES = {"full": (1e-4, 3e-4), "lora": (3e-3, 1e-3)}


def test_grids_of_unequal_size_are_refused() -> None:
    with pytest.raises(ConfigError, match="equally many"):
        parse(AdaptationSettings, {"rates": {"full": [1e-4], "lora": [1e-3, 3e-3]}}, "test")
    with pytest.raises(ConfigError, match="above 0"):
        parse(AdaptationSettings, {"rates": {"full": [0.0]}}, "test")


def test_an_arm_without_a_grid_has_its_own_unless_others_try_more_or_fewer() -> None:
    own = AdaptationSettings().grid("bitfit", build("bitfit", {}))
    assert own == (1e-4, 3e-4, 1e-3)
    given = AdaptationSettings(rates=RATES)
    assert given.grid("lora", build("lora", {})) == (1e-3, 3e-3)
    with pytest.raises(ConfigError, match=r"add adaptation\.rates\.bitfit with 2 rates"):
        given.grid("bitfit", build("bitfit", {}))


def test_an_arm_is_named_with_what_the_config_set() -> None:
    assert arm_label({"name": "lora", "rank": 16, "alpha": 32}) == "lora(rank=16, alpha=32)"
    assert arm_label({"name": "full"}) == "full"


def test_the_section_belongs_to_sam_alone_and_changes_no_other_key() -> None:
    with pytest.raises(ConfigError, match="learner=sam"):
        parse_run({"adaptation": {"choose_rate": "first"}}, "test")
    with pytest.raises(ConfigError, match="sam"):
        parse_run({"learner": {"name": "sam", "weight": 1}}, "test")
    alone = parse_run({"learner": "sam"}, "test")
    other = parse_run({"learner": "sam", "adaptation": {"external": {"root": "x"}}}, "test")
    assert alone.headline == "sam"
    assert alone.key != other.key
    assert parse_run({}, "test").headline == "student"


def test_a_plan_counts_the_rates_that_are_tried() -> None:
    def count(arm: str, rule: str) -> int:
        values = {"learner": "sam", "arm": arm, "adaptation": {"choose_rate": rule}}
        return trainings(parse_run(values | {"budget": [0.1, 0.5, 1.0]}, "test"))["adapters"]

    # three budgets: one each; + 2 further rates in the first, or in all
    assert [count("full", rule) for rule in ("off", "first", "every")] == [3, 5, 9]
    assert count("zero_shot", "first") == 0


def test_the_centre_holds_its_share_and_shares_are_of_masks_that_show_the_class() -> None:
    flat = centre((80, 60, 1), 0.1)
    assert flat.mean() == pytest.approx(0.1, abs=0.005)
    assert flat[40, 30, 0]
    assert not flat[0, 0, 0]
    assert centre((40, 40, 40), 0.05).mean() == pytest.approx(0.05, abs=0.003)
    assert not centre((8, 8, 1), 0.0).any()
    one = np.array([1, 0, 0, 255], np.uint8).reshape(4, 1, 1)  # 1 of 3 known
    two = np.array([1, 1, 1, 0], np.uint8).reshape(4, 1, 1)
    none = np.zeros((4, 1, 1), np.uint8)
    assert mean_share([one, two, none], 1) == pytest.approx((1 / 3 + 3 / 4) / 2)
    assert mean_share([none], 1) == 0.0


def test_dice_curves_by_hand() -> None:
    p = np.array([0.9, 0.6, 0.55, 0.2], np.float32).reshape(4, 1, 1)
    truth = np.array([1, 1, 0, 0], np.uint8).reshape(4, 1, 1)
    curves = DiceCurves(("nodule",))
    curves.update("a", np.stack([1 - p, p]), truth)
    curves.update("empty", np.stack([1 - p, p]), np.zeros_like(truth))
    (row,) = curves.rows  # without a reference there is no Dice
    # at 0.5: 3 predicted, 2 right: 2*2 / (3 + 2) = .8; at .58: 2 predicted, 2 right: 1
    assert (row["dice"][50], row["dice"][58]) == (0.8, 1.0)
    assert (row["area"][50], row["area"][58]) == (1.5, 1.0)


def test_the_threshold_is_that_of_the_validation_cases_and_agrees_with_the_library() -> None:
    rng = np.random.default_rng(0)
    tables, images = {}, {}
    for name, gain in (("validation", 1.0), ("external", 0.5)):
        curves, images[name] = DiceCurves(("nodule",)), []
        for k in range(4):
            truth = (rng.random((6, 6, 1)) < 0.3).astype(np.uint8)
            p = np.clip(gain * (0.5 * truth + 0.5 * rng.random((6, 6, 1))), 0, 1)
            curves.update(f"c{k}", np.stack([1 - p, p]), truth)
            images[name].append((p.ravel(), truth.ravel() == 1))
        tables[name, "sam"] = curves.rows
    (row,) = point_rows(tables)
    other = operating_points(images["external"], row["threshold_val"])
    assert row["split"] == "external"
    for key in ("dice_half", "dice_val", "dice_best", "threshold_best", "area_bias"):
        assert row[key] == pytest.approx(getattr(other, key), abs=2e-5)
    (bare,) = point_rows({("test", "sam"): tables["external", "sam"]})
    assert bare["dice_val"] is None
    assert bare["dice_best"] == row["dice_best"]


def test_the_peak_of_a_block_counts_what_it_held() -> None:
    with measured("cpu") as small:
        pass
    with measured("cpu") as large:
        held = np.ones(16 * 2**20)  # 128 MiB
        held.sum()
        del held
    if large["peak_mb"] is None:
        pytest.skip("no /proc here")
    assert 100 < large["extra_mb"] < 200
    assert small["extra_mb"] < 30
    assert large["cpu_seconds"] <= large["wall_seconds"] + 0.5


def test_only_what_inference_needs_counts_as_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "arm.safetensors").write_bytes(bytes(70))
    (tmp_path / "arm.json").write_bytes(bytes(5))
    (tmp_path / "train.jsonl").write_bytes(bytes(900))
    assert checkpoint_bytes(tmp_path) == 75
