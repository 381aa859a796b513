import math

import numpy as np
import pytest

from salearn.metrics.curves import aubc
from salearn.report.aggregate import (
    CurveSettings,
    curve_table,
    curves_of,
    difference,
    difference_table,
)
from salearn.report.runs import read_runs
from salearn.report.tables import case_table
from salearn.stats.bootstrap import Hierarchy

HOW = CurveSettings(replicates=500)


def table_of(folder, how=HOW):
    cases = case_table(read_runs([folder]).runs)
    return cases, curve_table(curves_of(cases, how), how)


def rows(table, **chosen):
    chosen = {"split": "test", "stage": "student", "metric": "dice", "class": "mean"} | chosen
    for name, value in chosen.items():
        table = table[table[name] == value]
    return table


def test_a_point_is_the_mean_over_seeds_of_the_mean_over_cases(study):
    cases, table = table_of(study)
    row = rows(table, strategy="hybrid", learner="supervised", budget=2).iloc[0]
    part = cases[(cases["strategy"] == "hybrid") & (cases["learner"] == "supervised")]
    part = part[(part["num_labeled"] == 2) & (part["stage"] == "student")]
    part = part[part["split"] == "test"]
    per_class = part.groupby(["draw_seed", "class"], observed=True)["dice"].mean()
    assert row["mean"] == pytest.approx(per_class.mean())
    assert row["low"] < row["mean"] < row["high"]
    assert (row["n_seeds"], row["n_draws"], row["n_cases"]) == (2, 2, 12)
    assert row["interval_over"] == "draw seeds x cases"


def test_the_interval_of_a_point_is_the_hierarchical_bootstrap(study):
    cases, table = table_of(study)
    row = rows(table, strategy="random", learner="supervised", budget=4, **{"class": "anterior"})
    curve = next(
        curve
        for curve in curves_of(cases, HOW)
        if (curve.keys["strategy"], curve.keys["learner"]) == ("random", "supervised")
        and (curve.keys["split"], curve.keys["stage"]) == ("test", "student")
    )
    found = Hierarchy.make([0, 1], 12, 500).interval(curve.values[2][:, :, :1])
    got = row[["mean", "low", "high"]].iloc[0].tolist()
    assert got == pytest.approx([found.estimate, found.low, found.high])


def test_the_area_is_that_of_the_mean_curve(study):
    _, table = table_of(study)
    part = rows(table, strategy="hybrid", learner="sfr_mean_teacher")
    means = part.sort_values("budget")["mean"].tolist()
    assert part["aubc"].iloc[0] == pytest.approx(aubc(means))
    assert part["aubc_cost"].iloc[0] == pytest.approx(aubc(means, [1, 2, 4]))
    assert part["aubc_low"].iloc[0] < part["aubc"].iloc[0] < part["aubc_high"].iloc[0]


def test_every_stage_class_metric_and_split_has_its_curve(study):
    _, table = table_of(study)
    # strategies x budgets x splits x (stages) x (classes + mean) x metrics
    assert len(table) == 2 * 3 * 2 * 5 * 3 * 2
    assert set(table["metric"]) == {"dice", "hd95_mm"}


def test_a_single_seed_gives_an_interval_over_cases_only(tmp_path, make_run):
    make_run(tmp_path / "run")
    _, table = table_of(tmp_path)
    assert set(rows(table)["interval_over"]) == {"cases"}


def test_a_run_that_was_cut_counts_where_it_came_to(tmp_path, make_run):
    make_run(tmp_path / "a", train_seed=0)
    make_run(tmp_path / "b", train_seed=1, done=1)
    _, table = table_of(tmp_path)
    part = rows(table)
    assert part["n_seeds"].tolist() == [2, 1, 1]
    assert part["aubc_seeds"].tolist() == [1, 1, 1]
    whole = part["aubc"].iloc[0]
    (tmp_path / "b" / "run.json").unlink()
    _, alone = table_of(tmp_path)
    assert rows(alone)["aubc"].iloc[0] == pytest.approx(whole)


def test_without_a_finished_run_there_is_no_area(tmp_path, make_run):
    make_run(tmp_path / "a", train_seed=0, done=1)
    make_run(tmp_path / "b", train_seed=1, budget=(2, 4))
    _, table = table_of(tmp_path)
    assert math.isnan(rows(table)["aubc"].iloc[0])
    assert rows(table)["budget"].tolist() == [1, 2, 4]


def test_missed_and_absent_cases_are_counted(tmp_path, make_run):
    make_run(tmp_path / "run", dice=lambda step, stage, name, case: 0.0 if case < 3 else 0.8)
    _, table = table_of(tmp_path)
    row = rows(table, budget=1).iloc[0]
    assert (row["n_missed"], row["n_used"], row["n_total"]) == (6, 24, 24)
    assert row["mean"] == pytest.approx(0.8 * 9 / 12)


def test_differences_are_paired_by_seed_and_case(tmp_path, make_run):
    def better(step, stage, name, case):
        return 0.3 + 0.05 * case + 0.02

    def worse(step, stage, name, case):
        return 0.3 + 0.05 * case

    for seed in (0, 1):
        make_run(tmp_path / f"h{seed}", "hybrid", draw_seed=seed, dice=better)
        make_run(tmp_path / f"r{seed}", "random", draw_seed=seed, dice=worse)
    make_run(tmp_path / "unpaired", "hybrid", draw_seed=5, dice=lambda *_: 0.99)
    cases = case_table(read_runs([tmp_path]).runs)
    table = difference_table(curves_of(cases, HOW), HOW, "strategy", "random")
    part = rows(table)
    assert set(part["strategy"]) == {"hybrid"}
    for name in ("mean", "low", "high", "aubc"):
        assert part[name].tolist() == pytest.approx([0.02] * 3)
    assert part["n_seeds"].tolist() == [2, 2, 2]
    assert set(table["split"]) == {"test"}


def test_arms_without_a_common_seed_are_not_compared(tmp_path, make_run):
    make_run(tmp_path / "h", "hybrid", draw_seed=0)
    make_run(tmp_path / "r", "random", draw_seed=1)
    cases = case_table(read_runs([tmp_path]).runs)
    curves = curves_of(cases, HOW)
    assert difference_table(curves, HOW, "strategy", "random").empty
    assert difference(curves[0], curves[-1]) is None


def test_a_case_that_is_undefined_in_one_arm_is_left_out_of_the_difference(tmp_path, make_run):
    make_run(tmp_path / "h", "hybrid", dice=lambda s, t, n, case: math.nan if case else 0.7)
    make_run(tmp_path / "r", "random", dice=lambda s, t, n, case: 0.1 * case + 0.4)
    cases = case_table(read_runs([tmp_path]).runs)
    table = difference_table(curves_of(cases, HOW), HOW, "strategy", "random")
    assert rows(table)["mean"].tolist() == pytest.approx([0.3] * 3)


def test_an_infinite_distance_does_not_become_a_number(tmp_path, make_run):
    make_run(tmp_path / "run", dice=lambda s, t, n, case: -math.inf if case == 0 else 0.5)
    _, table = table_of(tmp_path)  # hd95 = 20 * (1 - dice) = inf
    part = rows(table, metric="hd95_mm")
    assert np.isposinf(part["mean"]).all()
    assert np.isposinf(part["high"]).all()
    assert part["low"].tolist() == pytest.approx([10.0] * 3)
