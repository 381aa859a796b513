import json
import math
import time

import pandas as pd
import pytest

from salearn.report.runs import read_runs
from salearn.report.tables import case_table, metric_rows, ordered, round_table, write_table


def test_the_case_table_has_one_row_per_cell_round_split_stage_class_and_case(study):
    frame = case_table(read_runs([study]).runs)
    # strategies x seeds x rounds x (stages of both learners) x classes x (test + validation cases)
    assert len(frame) == 2 * 2 * 3 * (2 + 3) * 2 * (12 + 2)
    names = ["cell", "round", "split", "stage", "class", "case"]
    assert not frame.duplicated(names).any()
    row = frame[(frame["cell"] == "hybrid-supervised-1-0") & (frame["round"] == 2)].iloc[0]
    assert (row["strategy"], row["draw_seed"], row["num_labeled"]) == ("hybrid", 1, 4)
    assert set(frame["status"]) == {"ok"}


def test_undefined_values_survive_reading(tmp_path, make_run):
    def dice(step, stage, name, case):
        return math.nan if (name, case) == ("anterior", 3) else 0.5

    make_run(tmp_path / "run", dice=dice)
    frame = case_table(read_runs([tmp_path]).runs)
    assert frame["dice"].isna().sum() == 3 * 2  # rounds x stages, among the test cases


def test_metric_rows_are_plain_json_one_per_class_and_metric(study):
    rows = metric_rows(read_runs([study]).runs)
    names = ["cell", "round", "split", "stage", "class", "metric"]
    assert len({tuple(row[name] for name in names) for row in rows}) == len(rows)
    assert {row["class"] for row in rows} == {"anterior", "posterior", "mean"}
    json.dumps(rows, allow_nan=False)
    means = [r for r in rows if r["class"] == "mean" and r["metric"] == "dice"]
    assert len(means) == 2 * 2 * 3 * 5 * 2
    assert means[0]["n_used"] == 2 * 2  # validation cases x classes


def test_nan_becomes_null_in_metric_rows(tmp_path, make_run):
    make_run(tmp_path / "run", dice=lambda *_: math.nan)
    rows = metric_rows(read_runs([tmp_path]).runs)
    assert {row["value"] for row in rows} == {None}


def test_a_distance_that_a_run_was_asked_for_is_among_its_metric_rows(tmp_path, make_run):
    make_run(tmp_path / "run")
    columns = list(case_table(read_runs([tmp_path]).runs))
    for name, place in {"cases": lambda row: [row], "rounds": lambda row: row["metrics"]}.items():
        file = tmp_path / "run" / f"{name}.jsonl"
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        for row in rows:
            for scores in place(row):
                scores["hd95_surfel_mm"] = 2.5
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    runs = read_runs([tmp_path]).runs
    assert list(case_table(runs)) == columns
    found = {row["value"] for row in metric_rows(runs) if row["metric"] == "hd95_surfel_mm"}
    assert found == {2.5}


def test_the_round_table_says_what_had_been_spent(study):
    frame = round_table(read_runs([study]).runs)
    assert len(frame) == 8 * 3
    assert frame["cost_seconds"].tolist()[:3] == [60, 120, 240]


def test_tables_are_written_as_csv_and_parquet_with_the_same_content(tmp_path, study):
    frame = case_table(read_runs([study]).runs)
    paths = write_table(frame, tmp_path / "out" / "cases")
    text, binary = pd.read_csv(paths["csv"]), pd.read_parquet(paths["parquet"])
    assert list(text.columns) == list(binary.columns) == list(frame.columns)
    pd.testing.assert_series_equal(text["dice"], frame["dice"])
    assert text["case"].tolist() == frame["case"].tolist()
    pd.testing.assert_frame_equal(binary, frame)


def test_baselines_come_first():
    assert ordered({"asd", "supervised", "random", "hybrid"}) == [
        *("random", "supervised"),
        *("asd", "hybrid"),
    ]


@pytest.mark.slow
def test_a_thousand_cells_are_read_in_20_seconds(tmp_path, make_run):
    for seed in range(100):
        make_run(tmp_path / str(seed), draw_seed=seed, budget=(1, 2, 4, 8, 16), num_cases=58)
    start = time.process_time()
    frame = case_table(read_runs([tmp_path]).runs)
    spent = time.process_time() - start
    assert len(frame) == 100 * 1200
    assert spent < 2
