"""Two runs or studies side by side."""

import json
import sys

import pytest

from loops import cli
from salearn.errors import ConfigError
from salearn.report.aggregate import CurveSettings
from salearn.report.compare import compare_runs, render, write_comparison
from salearn.report.verdict import headline

HOW = CurveSettings(replicates=200, metrics=("dice",))


def study(make_run, root, gain, seeds=2, strategies=("random", "hybrid"), **more):
    for strategy in strategies:
        for seed in range(seeds):
            make_run(
                root / f"{strategy}{seed}", strategy, draw_seed=seed,
                dice=lambda step, stage, name, case, s=seed: (
                    0.4 + 0.1 * step + 0.01 * s + 0.001 * case + gain
                ), **more,
            )  # fmt: skip
    return root


def test_cells_are_paired_by_their_factors_and_differences_are_b_minus_a(tmp_path, make_run):
    a = study(make_run, tmp_path / "a", 0.0, config="student:\n  iterations: 240\n")
    b = study(make_run, tmp_path / "b", 0.05, config="student:\n  iterations: 600\n")
    found = compare_runs(a, b, HOW)
    assert found.settings == [{"key": "student.iterations", "a": "240", "b": "600"}]
    assert len(found.matched) == 4
    assert found.unmatched == {"a": [], "b": []}
    rows = headline(found.table, "dice")
    assert rows["mean"].to_numpy() == pytest.approx([0.05] * 6)  # two arms x three budgets
    assert set(rows["arm"]) == {"Hippo: random x supervised", "Hippo: hybrid x supervised"}
    # p = 2 / 201 each, all resamples alike; Holm over six tests.
    assert rows["p"].to_numpy() == pytest.approx([2 / 201] * 6)
    assert rows["p_holm"].to_numpy() == pytest.approx([6 * 2 / 201] * 6)
    assert "2 pairs of seeds: a hint about the methods, no claim." in found.verdict
    assert "equality was not shown either" in found.verdict


def test_two_runs_are_paired_directly_and_compare_no_methods(tmp_path, make_run):
    a = make_run(tmp_path / "a", "random", draw_seed=0, dice=lambda *_: 0.5)
    b = make_run(tmp_path / "b", "hybrid", draw_seed=7, dice=lambda *_: 0.6)
    found = compare_runs(a, b, CurveSettings(replicates=1000, metrics=("dice",)))
    assert {row["key"] for row in found.settings} == {"draw_seed"}
    assert found.matched[0]["arm"] == "Hippo: random x supervised -> Hippo: hybrid x supervised"
    assert found.matched[0]["seeds"] == "0/0 -> 7/0"
    assert "B higher at 1, 2, 4 annotated (Holm-adjusted p <= 0.05)" in found.verdict
    assert "two trained models on these cases, not two methods" in found.verdict
    assert any("One pair of runs" in line for line in found.warnings)


def test_five_pairs_of_seeds_may_support_a_difference(tmp_path, make_run):
    a = study(make_run, tmp_path / "a", 0.0, seeds=5, strategies=("random",))
    b = study(make_run, tmp_path / "b", -0.1, seeds=5, strategies=("random",), config="lr: 2\n")
    verdict = compare_runs(a, b, CurveSettings(replicates=1000, metrics=("dice",))).verdict
    assert "B lower at 1, 2, 4 annotated" in verdict
    assert "hint" not in verdict


def test_cells_without_a_counterpart_are_named(tmp_path, make_run):
    a = study(make_run, tmp_path / "a", 0.0, seeds=2)
    b = study(make_run, tmp_path / "b", 0.0, seeds=1, split_hash="other")
    found = compare_runs(a, b, HOW)
    assert len(found.matched) == 2
    assert [name.split("/")[-1] for name in found.unmatched["a"]] == ["hybrid1", "random1"]
    text = " ".join(found.warnings)
    assert "no counterpart" in text
    assert "The splits differ" in text
    assert {"key": "split hash", "a": "abc123", "b": "other"} in found.settings


def test_few_cases_have_no_p_value(tmp_path, make_run):
    a = study(make_run, tmp_path / "a", 0.0, num_cases=5)
    b = study(make_run, tmp_path / "b", 0.1, num_cases=5)
    found = compare_runs(a, b, HOW)
    assert found.table["p"].isna().all()
    assert "no test is possible" in found.verdict
    assert "describe this sample only" in found.verdict


def test_the_files_of_a_comparison(tmp_path, make_run):
    a = make_run(tmp_path / "a", dice=lambda *_: 0.5)
    b = make_run(tmp_path / "b", train_seed=1, dice=lambda *_: 0.6)
    found = compare_runs(a, b, HOW)
    paths = write_comparison(found, tmp_path / "out")
    assert {"compare", "differences.csv", "differences.parquet"} <= set(paths)
    assert all(path.stat().st_size > 0 for path in paths.values())
    assert paths["compare"].read_text() == render(found)
    assert "| Hippo: random x supervised | 1 | +0.100 [+0.100, +0.100] |" in render(found)


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["salearn", "compare", *map(str, words)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0, capsys.readouterr().out


def test_the_verb_answers_json_and_exit_codes(tmp_path, make_run, monkeypatch, capsys):
    a = make_run(tmp_path / "a", budget=(1, 2))
    b = make_run(tmp_path / "b", train_seed=1, budget=(1, 2))
    other = make_run(tmp_path / "c", budget=(3, 5), train_seed=2)
    code, text = call(monkeypatch, capsys, a, b, "--json")
    assert code == 0
    found = json.loads(text)
    keys = {"settings", "matched", "unmatched", "differences", "warnings", "verdict", "paths"}
    keys |= {"crossings", "power"}
    assert set(found) == keys
    assert {"arm", "budget", "mean", "low", "high", "p", "p_holm"} <= set(found["differences"][0])
    code, text = call(monkeypatch, capsys, a, other)  # no budget in common
    assert code == 1
    assert "Nothing could be paired" in text
    assert call(monkeypatch, capsys, a, tmp_path / "none")[0] == 2


def test_a_missing_folder_is_refused(tmp_path, make_run):
    with pytest.raises(ConfigError, match="no such folder"):
        compare_runs(make_run(tmp_path / "a"), tmp_path / "none")


def gains(step, stage, name, index):
    """Worse by 0.1 with one mask, better by 0.1 with four; 0.01 of noise by case."""
    return 0.7 + (-0.1, 0.0, 0.1)[step] + 0.01 * (index % 3 - 1)


def flat(step, stage, name, index):
    return 0.7


def test_where_two_curves_cross_is_read_from_all_budgets(tmp_path, make_run):
    for seed in (0, 1, 2):
        make_run(tmp_path / "a" / str(seed), draw_seed=seed, dice=flat)
        make_run(tmp_path / "b" / str(seed), draw_seed=seed, dice=gains)
    found = compare_runs(tmp_path / "a", tmp_path / "b", HOW, size=0.02)
    (row,) = found.crossings
    # B - A is -0.1, 0, +0.1 at 1, 2, 4 masks: first match at 2, last at 4, root at 2.
    assert (row["first"], row["last"], row["roots"]) == (2, 4, (2.0,))
    assert row["supported"] == 4
    assert row["chance"] == pytest.approx(1 - 0.5**3)
    assert "Where B meets A" in render(found)


def test_what_a_study_would_need_follows_the_spread_of_the_cases(tmp_path, make_run):
    for seed in (0, 1, 2):
        make_run(tmp_path / "a" / str(seed), draw_seed=seed, dice=flat)
        make_run(tmp_path / "b" / str(seed), draw_seed=seed, dice=gains)

    def cases(size):
        found = compare_runs(tmp_path / "a", tmp_path / "b", HOW, size=size)
        return {row["draws"]: row["cases"] for row in found.power}

    small, large = cases(0.002), cases(0.02)
    assert set(small) == {1, 2, 3, 5, 10}
    assert all(small[draws] > large[draws] for draws in small)
