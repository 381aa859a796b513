import json

import pandas as pd
import pytest

from salearn.report.aggregate import CurveSettings
from salearn.report.summary import make_report, render, write_report

HOW = CurveSettings(replicates=200)


def page(folder, how=HOW):
    from salearn.report.runs import read_runs

    return render(make_report(read_runs([folder]), how), {})


@pytest.mark.slow
def test_a_study_becomes_tables_figures_and_a_page(study, tmp_path):
    result = write_report([study], tmp_path / "out", HOW)
    assert set(result) == {"summary", "paths", "rows", "cells"}
    for name, path in result["paths"].items():
        assert path.stat().st_size > 0, name
    names = set(result["paths"])
    assert {"summary", "cases.csv", "cases.parquet", "curve.csv", "minus_random.csv"} <= names
    assert "figures/curve_by_strategy_hippo_volume.svg" in names
    assert "figures/minus_supervised_hippo_volume.png" in names
    text = (tmp_path / "out" / "summary.md").read_text()
    assert text == result["summary"]
    for words in (
        "| strategy | hybrid, random |",
        "| draw seed | 0, 1 |",
        "| test cases | 12 |",
        "| cells done | 8 of 8 |",
        "### Dice minus random (same learner)",
        "### Dice minus supervised (same strategy)",
        "hybrid x supervised against random: ",
        "2 seeds: a bootstrap over so few shows only 1/2",
        "Split hash: abc123",
        "torch 2.13.0",
        "not corrected for the number of comparisons",
    ):
        assert words in text, words
    curve = pd.read_csv(result["paths"]["curve.csv"])
    best = curve[(curve["class"] == "mean") & (curve["split"] == "test") & (curve["budget"] == 4)]
    best = best[(best["metric"] == "dice") & (best["stage"] == "student")]
    top = best.sort_values("mean").iloc[-1]
    assert f"| 4 | {top['strategy']} x {top['learner']} | {top['mean']:.3f} [" in text


@pytest.mark.slow
def test_a_report_written_twice_is_the_same_and_does_not_read_itself(tmp_path, make_run):
    study = make_run(tmp_path / "study" / "a").parent
    first = write_report([study], study / "report", HOW)
    kept = {name: path.read_bytes() for name, path in first["paths"].items()}
    again = write_report([study], study / "report", HOW)
    assert again["rows"] == first["rows"]
    assert {name: path.read_bytes() for name, path in again["paths"].items()} == kept


def test_a_single_seed_supports_no_claim(tmp_path, make_run):
    make_run(tmp_path / "a", "random")
    make_run(tmp_path / "b", "hybrid")
    text = page(tmp_path)
    assert "Single seed" in text
    assert "hybrid x supervised against random: no claim, 1 draw seed" in text


def test_one_draw_seed_supports_no_claim_about_strategies(tmp_path, make_run):
    for seed in (0, 1):
        make_run(tmp_path / f"a{seed}", "random", train_seed=seed)
        make_run(tmp_path / f"b{seed}", "hybrid", train_seed=seed)
    text = page(tmp_path)
    assert "One draw seed" in text
    assert "no claim, 1 draw seed" in text


def test_enough_seeds_give_a_verdict_and_few_a_hint(tmp_path, make_run):
    for seed in range(5):
        low, high = 0.5 + 0.001 * seed, 0.6 + 0.001 * seed
        make_run(tmp_path / f"a{seed}", "random", draw_seed=seed, dice=lambda *_, v=low: v)
        make_run(tmp_path / f"b{seed}", "hybrid", draw_seed=seed, dice=lambda *_, v=high: v)
        if seed == 1:
            hint = "higher AUBC, the interval excludes 0; 2 draw seeds, so a hint only"
            assert hint in page(tmp_path)
    text = page(tmp_path)
    assert "against random: higher AUBC, the interval excludes 0\n" in text
    assert "+0.100 [+0.100, +0.100]" in text


def test_draw_seeds_with_the_same_runs_are_one_seed(tmp_path, make_run):
    for seed in range(5):
        make_run(tmp_path / f"a{seed}", "random", draw_seed=seed, dice=lambda *_: 0.5)
        make_run(tmp_path / f"b{seed}", "hybrid", draw_seed=seed, dice=lambda *_: 0.6)
    assert "hybrid x supervised against random: no claim, 1 draw seed" in page(tmp_path)


def test_lost_cells_other_splits_dead_classes_and_leaks_are_warned_of(tmp_path, make_run):
    make_run(tmp_path / "a", split_hash="one")
    make_run(tmp_path / "b", train_seed=1, split_hash="two", done=1)
    planned = [{"key": "k", "folder": "gone", "status": "failed", "error": "RuntimeError: a | b"}]
    (tmp_path / "study.json").write_text(json.dumps({"cells": planned}))
    path = tmp_path / "a" / "rounds.jsonl"
    rounds = [json.loads(line) for line in path.read_text().splitlines()]
    rounds[1] |= {"dead_classes": {"student": [2]}, "scores": {"test_03@004": 1.0}}
    path.write_text("".join(json.dumps(line) + "\n" for line in rounds))
    text = page(tmp_path)
    for words in (
        "1 of 3 cells are failed",
        "1 of 3 cells are unfinished",
        "2 different splits",
        "dead class posterior",
        "LEAK, scored cases are in the pool: test_03.",
        "random x supervised: 1 to 2 seeds by budget",
        "/gone | failed | 0/? | RuntimeError: a / b |",
        "(n=1)",
    ):
        assert words in text, words


def test_missed_classes_are_counted_on_the_page(tmp_path, make_run):
    make_run(tmp_path / "a", dice=lambda s, t, n, case: 0.0 if case == 0 else 0.5)
    assert "class anterior: of 72 scored predictions 6 missed it" in page(tmp_path)


def test_variants_of_a_learner_stand_apart(tmp_path, make_run):
    for steps in (240, 600):
        config = f"student:\n  iterations: {steps}\n"
        make_run(tmp_path / str(steps), config=config, key=str(steps))
    text = page(tmp_path)
    assert "| random | supervised [student.iterations=240] |" in text
    assert "| random | supervised [student.iterations=600] |" in text


def test_a_study_without_any_round_still_has_a_page(tmp_path, make_run):
    make_run(tmp_path / "in" / "a", done=0)
    result = write_report([tmp_path / "in"], tmp_path / "out", HOW)
    assert result["rows"] == []
    assert "1 of 1 cells are unfinished" in result["summary"]


def test_only_broken_runs_give_a_page_that_says_so(tmp_path, make_run):
    (make_run(tmp_path / "a") / "run.json").write_text("{")
    assert "No run could be read" in page(tmp_path)


def test_slices_are_named_on_the_axis(tmp_path, make_run):
    make_run(tmp_path / "a", unit="slice")
    assert "by annotated slices" in page(tmp_path)


@pytest.mark.parametrize("metrics", [("iou",), ("assd_mm", "dice")])
def test_other_metrics_can_lead(tmp_path, make_run, metrics):
    make_run(tmp_path / "a")
    text = page(tmp_path, CurveSettings(replicates=100, metrics=metrics))
    title = {"iou": "IoU", "assd_mm": "ASSD (mm)"}[metrics[0]]
    assert f"### {title} on test cases" in text


def test_draw_seeds_with_equal_selections_are_called_one_run(tmp_path, make_run):
    runs = [make_run(tmp_path / str(seed), draw_seed=seed) for seed in (0, 1)]
    log = runs[1] / "rounds.jsonl"
    log.write_text((runs[0] / "rounds.jsonl").read_text())
    text = write_report(runs, tmp_path / "out", HOW)["summary"]
    assert "2 draw seeds gave 1 different selections" in text
