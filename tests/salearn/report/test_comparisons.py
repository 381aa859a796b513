"""Forest, win matrix, areas, targets and power laws of a report, against hand-made runs."""

import math

import numpy as np
import pytest

from salearn.report.aggregate import CurveSettings
from salearn.report.areas import area_cells, reference, target_cells
from salearn.report.beyond import beyond_cells, extrapolations
from salearn.report.caveats import warnings_of
from salearn.report.costs import layouts, with_costs
from salearn.report.forest import forest_cells, forest_drawing, forest_table
from salearn.report.matrix import matrix_cells, win_matrix
from salearn.report.parts import make_report, parts_of
from salearn.report.quality import class_cells, gap_cells, stage_cells
from salearn.report.runs import read_runs

HOW = CurveSettings(replicates=200, metrics=("dice",))


def part_of(folder, how=HOW):
    return next(parts_of(make_report(read_runs([folder]), how)))


def two_strategies(make_run, folder, seeds, gain, **more):
    """Runs in which hybrid is better than random by `gain(step, case)` on every seed."""
    for seed in range(seeds):
        level = 0.5 + 0.01 * seed

        def low(step, stage, name, case, level=level):
            return level + 0.1 * step

        def high(step, stage, name, case, level=level):
            return level + 0.1 * step + gain(step, case)

        make_run(folder / f"a{seed}", "random", draw_seed=seed, dice=low, **more)
        make_run(folder / f"b{seed}", "hybrid", draw_seed=seed, dice=high, **more)
    return folder


def test_the_forest_holds_the_area_and_the_last_budget_of_each_pair(tmp_path, make_run):
    # Gains of .02, .04, .06 by round: area (.02/2 + .04 + .06/2) / 2 = .04, at the end .06.
    folder = two_strategies(make_run, tmp_path, 5, lambda step, case: 0.02 * (step + 1))
    table = forest_table(part_of(folder), HOW)
    assert list(table["quantity"]) == ["AUBC", "at 4"]
    assert list(table["against"]) == ["random", "random"]
    assert table["estimate"].to_numpy() == pytest.approx([0.04, 0.06])
    assert (table["low"] <= table["estimate"]).all()
    # Every resample is above 0: p = 2 (1 + 0) / (200 + 1); Holm doubles it, a family of two.
    assert table["p"].to_numpy() == pytest.approx([2 / 201] * 2)
    assert table["p_holm"].to_numpy() == pytest.approx([4 / 201] * 2)
    assert list(table["verdict"]) == ["higher", "higher"]


def test_a_forest_on_few_seeds_or_cases_claims_nothing(tmp_path, make_run):
    for seeds, cases, words in [(1, 12, "1 draw seed"), (2, 12, "a hint"), (2, 5, "5 test cases")]:
        folder = tmp_path / f"{seeds}{cases}"
        two_strategies(make_run, folder, seeds, lambda step, case: 0.1, num_cases=cases)
        table = forest_table(part_of(folder), HOW)
        assert table["p"].isna().all() == (words != "a hint")
        assert table["verdict"].str.contains(words).all()


def test_draw_seeds_that_change_nothing_are_one_seed(tmp_path, make_run):
    for seed in range(5):
        for learner, level in (("supervised", 0.5), ("sfr_mean_teacher", 0.6)):
            make_run(
                tmp_path / f"{learner}{seed}", "hybrid", learner, draw_seed=seed,
                dice=lambda step, stage, name, case, v=level: v + 0.01 * case,
            )  # fmt: skip
    table = forest_table(part_of(tmp_path), HOW)
    assert list(table["seeds"]) == [1, 1]
    assert list(table["verdict"]) == ["no claim: 1 seed"] * 2


def test_the_forest_is_drawn_and_told(study):
    table = forest_table(part_of(study), HOW)
    assert len(table) == 2 * (2 + 2)  # two quantities; each strategy and learner has a baseline
    drawing = forest_drawing(table)
    assert len(drawing.axes[0].lines) == 1 + 2 * len(table)
    words = forest_cells(table, "forest")
    assert len(words.rows) == len(table)
    assert words.rows[0][0].endswith("minus random")


def test_a_study_without_a_baseline_has_an_empty_forest(tmp_path, make_run):
    make_run(tmp_path / "a", "hybrid", "sfr_mean_teacher")
    assert forest_table(part_of(tmp_path), HOW).empty


def test_the_win_matrix_counts_budgets_at_which_every_seed_agrees(tmp_path, make_run):
    # On 6 seeds hybrid wins at rounds 1 and 2 by .1 +- a little, and not at round 0.
    for seed in range(6):
        wobble = 0.001 * seed
        make_run(tmp_path / f"a{seed}", "random", draw_seed=seed, dice=lambda *_: 0.5)
        make_run(
            tmp_path / f"b{seed}", "hybrid", draw_seed=seed,
            dice=lambda step, *_, w=wobble, s=seed: 0.5 + (0.1 + w if step else (-1) ** s * 0.01),
        )  # fmt: skip
    matrix = win_matrix(part_of(tmp_path).curves_for("dice"))
    assert matrix.names == ("random x supervised", "hybrid x supervised")
    assert matrix.wins == pytest.approx(np.array([[0, 0], [2 / 3, 0]]))
    table = matrix_cells(matrix, "wins")
    assert table.rows[1] == ["2. hybrid x supervised", "0.67", "·"]
    assert table.rows[2][1:] == ["0.67", "0.00"]


def test_one_arm_has_no_win_matrix(tmp_path, make_run):
    make_run(tmp_path / "a")
    assert win_matrix(part_of(tmp_path).curves_for("dice")) is None


def rows_of(part):
    return with_costs(part.mean(part.curve, "dice"), part)


def test_areas_and_targets_by_hand(tmp_path, make_run):
    # Dice .5, .7, .8 after 1, 2, 4 cases (60 s each). Area by round: (.6 + .75) / 2 = .675;
    # by case: (.6 * 1 + .75 * 2) / 3 = .7; seconds are proportional to cases.
    # 95 % of the best (.8) is .76: 2 + (.06 / .1) * 2 = 3.2 cases; 90 % is .72: 2.4.
    make_run(tmp_path / "a", dice=lambda step, *_: (0.5, 0.7, 0.8)[step])
    part = part_of(tmp_path)
    rows = rows_of(part)
    cells = area_cells(rows, "areas", full=0.9).rows
    # Between 0 and full supervision at .9: .675 / .9 = .75.
    assert cells == [
        ["random", "supervised", "0.675 [0.675, 0.675]", "0.700", "0.700", "0.750", "1"],
    ]
    full, words = reference(part, rows, HOW)
    assert full == pytest.approx(0.8)
    assert "the best point of all arms" in words
    targets = target_cells(rows, full, words, "targets")
    assert targets.rows[0][2:] == ["2.4", "3.2", "3.8"]
    given = reference(part, rows, CurveSettings(full=0.9))
    assert given[0] == 0.9
    assert target_cells(rows, 0.9, "", "t").rows[0][2:] == [">4", ">4", ">4"]
    assert target_cells(rows, 0.5, "", "t").rows[0][2:] == ["≤1", "≤1", "≤1"]


def test_a_run_with_the_whole_pool_annotated_is_the_reference(tmp_path, make_run):
    make_run(tmp_path / "a", budget=(1, 20), dice=lambda step, *_: (0.5, 0.7)[step])
    part = part_of(tmp_path)
    full, words = reference(part, rows_of(part), HOW)
    assert full == pytest.approx(0.7)
    assert "whole pool annotated" in words


def test_costs_are_means_over_runs_and_only_those_that_vary_get_a_figure(tmp_path, make_run):
    make_run(tmp_path / "a")
    rows = rows_of(part_of(tmp_path))
    assert rows["cost_slices"].tolist() == [40, 80, 160]
    assert rows["cost_hours"].tolist() == pytest.approx([1 / 60, 2 / 60, 4 / 60])
    assert [layout.axis for layout in layouts(rows)] == ["cost_slices", "cost_hours"]


def test_a_power_law_is_extended_and_a_jump_is_not(tmp_path, make_run):
    # y = .9 - .4 n^-1: at 16 it gives .875, and .88 is reached at n = 20.
    law = {1: 0.5, 2: 0.7, 4: 0.8, 8: 0.85}
    jump = {1: 0.5, 2: 0.7, 4: 0.72, 8: 0.5}
    for name, points in (("random", law), ("hybrid", jump)):
        make_run(
            tmp_path / name, name, budget=tuple(points),
            dice=lambda step, stage, k, case, p=points: list(p.values())[step] + 0.001 * case,
        )  # fmt: skip
    curves = part_of(tmp_path).curves_for("dice")
    found = {one.arm.split()[0]: one for one in extrapolations(curves, 0.8855, HOW)}
    good = found["random"]
    shift = 0.001 * 5.5  # mean over 12 cases of .001 case
    assert good.fits
    assert good.doubled.estimate == pytest.approx(0.875 + shift, abs=1e-4)
    assert good.needed.estimate == pytest.approx(20, rel=0.02)
    assert not found["hybrid"].fits
    rows = beyond_cells(list(found.values()), 0.8855, "beyond").rows
    assert {row[0]: row[2:4] for row in rows}["hybrid x supervised"] == ["does not fit", "-"]
    assert math.isfinite(good.row()["needed_estimate"])


def test_three_budgets_are_not_extended(study):
    assert not list(extrapolations(part_of(study).curves_for("dice"), 0.9, HOW))


def test_classes_stages_and_the_gap_stand_side_by_side(study):
    part = part_of(study)
    classes = class_cells(part, ("dice",), "classes")
    assert classes.headers[3:] == ["Dice anterior", "Dice posterior"]
    assert len(classes.rows) == 4
    stages = stage_cells(part, "dice", "stages")
    assert stages.headers[3:] == ["sam", "student", "teacher"]
    assert [row[3] == "-" for row in stages.rows] == [True, False, True, False]
    gap = gap_cells(part, "dice", "gap")
    assert len(gap.rows) == 4
    assert gap.rows[0][5][0] in "+-"


def test_a_ceiling_and_a_transductive_split_are_warned_of(tmp_path, make_run):
    make_run(tmp_path / "a", "random", dice=lambda step, *_: 0.5 + 0.1 * step)
    make_run(tmp_path / "b", "hybrid", dice=lambda step, *_: 0.6 + 0.05 * step + 0.002)
    parts = {"pool": {"cases": ["x"]}, "unmasked": {"cases": ["t"]}, "test": {"cases": ["t"]}}
    import json

    (tmp_path / "a" / "split.json").write_text(json.dumps({"parts": parts}))
    report = make_report(read_runs([tmp_path]), HOW)
    text = "\n".join(warnings_of(report.found, report.curve))
    assert "Ceiling: on Hippo at 4 annotated all 2 arms end within 0.002 Dice" in text
    assert "TRANSDUCTIVE, scored images are trained on unlabeled: t." in text
