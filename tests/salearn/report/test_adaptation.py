"""The section on arms: the known crossover, retention, the refusal of the word, costs."""

from pathlib import Path

import arm_runs
import pytest

from salearn.report.adaptation import arm_blocks, arm_frames, arm_lines
from salearn.report.aggregate import CurveSettings
from salearn.report.arms import arms_of, paired
from salearn.report.blocks import Table
from salearn.report.runs import read_runs
from salearn.report.summary import write_report

HOW = CurveSettings(replicates=200)
# Known answer of the adaptation notes 6.2: C_first 10 %, C_last 25 %, C_root 25 * 2^0.4 = 32.99 %.
LORA, FULL = (0.66, 0.736, 0.77, 0.79), (0.61, 0.726, 0.785, 0.815)
COST = {"cpu_seconds": 4.0, "peak_mb": 300, "extra_mb": 20, "checkpoint_bytes": 2**21}


def study(folder: Path, seeds: int = 3, **more) -> Path:
    for seed in range(seeds):
        shift = 0.002 * seed
        arms = {
            "lora": ({"name": "lora", "rank": 8}, LORA, COST | {"cpu_seconds": 2.0}),
            "big": ({"name": "lora", "rank": 16}, LORA, COST),
            "full": ({"name": "full"}, FULL, COST),
            "zero": ({"name": "zero_shot"}, (0.1,) * 4, None),
        }
        for name, (arm, dice, cost) in arms.items():
            means = [value + shift for value in dice]
            arm_runs.write(
                folder / f"{name}_{seed}", arm, means, seed, 0.05, cost=cost,
                outside=[value - 0.2 for value in means] if more.get("external") else None,
            )  # fmt: skip
    return folder


def tables(folder: Path) -> dict[str, Table]:
    blocks = arm_blocks(read_runs([folder]).runs, HOW, "us")
    return {block.name: block for block in blocks if isinstance(block, Table)}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Table]:
    return tables(study(tmp_path_factory.mktemp("arms") / "s", external=True))


def row(table: Table, *start: str) -> list[str]:
    return next(list(r) for r in table.rows if tuple(r[: len(start)]) == start)


def test_the_four_readings_of_the_known_curve(found: dict[str, Table]) -> None:
    line = row(found["arm_readings_us"], "lora(rank=8) against full", "test cases")
    assert line[2] == "10 %"
    assert line[3].startswith("25 % (mode 25 %)")
    assert line[5].startswith("33 %")  # 32.99
    assert line[6] == "25 %"  # delta is the same in every seed and patient: +.01 is supported
    assert "Crossover" in found["arm_readings_us"].caption


def test_differences_are_paired_so_equal_patients_leave_no_spread(found: dict[str, Table]) -> None:
    line = row(found["arm_deltas_us"], "lora(rank=8) minus full", "test cases")
    assert line[2:] == [
        "+0.050 [+0.050, +0.050] = +", "+0.010 [+0.010, +0.010] = +",
        "-0.015 [-0.015, -0.015]", "-0.025 [-0.025, -0.025]",
    ]  # fmt: skip


def test_retention_is_the_ratio_to_the_last_budget(found: dict[str, Table]) -> None:
    line = row(found["retention_us"], "lora(rank=8)")
    # mean over the seeds 0, 1, 2: (.66 + .002) / (.79 + .002) = .8359
    assert line[1].startswith("0.836 [")
    assert not [r for r in found["retention_us"].rows if r[0] == "zero_shot"]


def test_patients_are_the_units_and_images_without_structure_have_no_dice(
    found: dict[str, Table],
) -> None:
    assert "8 patients" in found["arms_us"].caption  # 16 images that show it, two a patient
    assert row(found["arms_us"], "zero_shot")[1].startswith("0.102 [")
    assert row(found["arm_places_us"], "full")[-1] == "3 of 3 / 3 of 3"


def test_costs_are_relative_to_full_fine_tuning(found: dict[str, Table]) -> None:
    line = row(found["arm_costs_us"], "lora(rank=8)")
    assert line[1:3] == ["50", "5.00 % of 1,000"]
    assert line[3] == "2.0 (0.50)"
    assert line[4:] == ["300", "20", "2.00", "0.001 x 3", "3"]
    assert row(found["arm_costs_us"], "zero_shot")[3] == "-"


def test_thresholds_tell_what_is_calibration_and_what_is_ranking(found: dict[str, Table]) -> None:
    line = row(found["arm_thresholds_us"], "full", "external")
    assert line[-2:] == ["-0.200", "0.300"]  # .4 - .6; .7 inside - .4 outside
    assert row(found["arm_auc_us"], "full")[2:] == ["0.900", "0.900"]


def test_predictors_that_look_at_no_image_stand_beside_the_arms(found: dict[str, Table]) -> None:
    line = row(found["arm_trivial_us"], "centre", "external")
    assert line[2:] == ["0.400", "0.410", "0.420", "0.430"]


def test_another_place_is_told_with_its_gap(found: dict[str, Table]) -> None:
    line = row(found["arm_places_us"], "full")
    assert line[3].startswith("+0.200 [")
    assert "Kendall's tau of the 4 arms' order inside and outside: 1.00" in (
        found["arm_places_us"].note
    )


def test_of_a_single_seed_nothing_is_called_a_crossover(tmp_path: Path) -> None:
    folder = study(tmp_path / "one", seeds=1)
    text = "\n".join(arm_lines(read_runs([folder]).runs, HOW, "us"))
    assert "crossover" not in text.lower()
    assert "Point matches (one seed" in text
    assert "+0.050 [+0.050, +0.050] |" in text  # no mark
    assert "| one seed | 1 |" in text  # no C_supported
    assert "fewer than the 3 draws" in text
    assert "full: 1 of 1 chosen rates are the lowest of the grid" in text
    assert "chosen on 5 validation cases" in text


def test_families_are_declared_and_equal_ranks_are_equivalent(found: dict[str, Table]) -> None:
    table = found["arm_families_us"]
    # F1: two ranks at 4 budgets; F2: one pair at 4; F3: three arms at the last budget
    assert [line[0] for line in table.rows].count("F1") == 8
    assert [line[0] for line in table.rows].count("F2") == 4
    assert [line[2] for line in table.rows if line[0] == "F3"] == ["100 %"] * 3
    line = row(table, "F2", "lora(rank=16) minus lora(rank=8)", "10 %")
    assert line[3:5] == ["+0.000 [+0.000, +0.000]", "yes"]
    # all draws give -.015: p is the least that 200 replicates can give, 2 / 201; Holm over 8
    line = row(table, "F1", "lora(rank=8) minus full", "50 %")
    assert line[4:7] == ["not shown", "0.0100", "0.0796"]


def test_pairs_share_seeds_and_patients(tmp_path: Path) -> None:
    for seed, name in ((0, "full"), (1, "full"), (1, "bitfit"), (2, "bitfit")):
        arm_runs.write(tmp_path / f"{name}_{seed}", {"name": name}, FULL, seed, 0.05)
    full, bitfit = arms_of(read_runs([tmp_path]).runs)
    gaps = paired(bitfit, full, "test")
    assert (full.kind, bitfit.kind) == ("full", "bitfit")
    assert gaps is not None
    assert gaps[0].shape == (4, 1, 8)
    assert gaps[1] == [1]
    assert paired(bitfit, full, "external") is None


@pytest.mark.slow
def test_other_runs_have_no_such_section_and_files_are_written(tmp_path: Path) -> None:
    folder = study(tmp_path / "s", seeds=2)
    runs = read_runs([folder]).runs
    assert {run.variant for run in runs} == {
        "arm=lora(rank=8)", "arm=lora(rank=16)", "arm=full", "arm=zero_shot"
    }  # fmt: skip
    frame = arm_frames(runs, HOW, "us")["arm_curves_us"]
    assert len(frame) == 16
    assert set(frame["split"]) == {"test"}
    assert arm_blocks([], HOW, "us") == []
    result = write_report([folder], tmp_path / "report", HOW)
    assert "### Arms of SAM3" in result["summary"]
    assert result["paths"]["tables/arm_readings_us_volume.tex"].is_file()
    assert "Arms of SAM3" in result["paths"]["report"].read_text()
