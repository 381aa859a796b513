"""All strategies on their page: areas by hand, order of rows, agreement of draws."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks.strategies_page import BEGIN, END, write_page

DICE = {"random": 0.5, "dkd": 0.7, "entropy": 0.4}
DRAWS = {0: 0.0, 1: 0.1, 2: -0.1}


def _rows():
    for strategy, dice in DICE.items():
        for seed, shift in DRAWS.items():
            for budget, step in ((2, 0.0), (8, 0.1), (32, 0.0)):
                for case, part in (("a", 0.05), ("b", -0.05)):
                    for class_ in ("one", "two"):
                        value = dice + shift + step + part
                        yield {"split": "test", "stage": "student", "strategy": strategy,
                               "draw_seed": seed, "num_labeled": budget, "case": case,
                               "class": class_, "dice": value}  # fmt: skip


@pytest.fixture
def report(tmp_path: Path) -> Path:
    pd.DataFrame(_rows()).to_csv(tmp_path / "cases.csv")
    cells = [{"strategy": name, "cpu_seconds": 10.0} for name in DICE for _ in DRAWS]
    pd.DataFrame(cells).to_csv(tmp_path / "cells.csv")
    costs = [
        {"strategy": name, "budget": b, "cost_hours": b / 10} for name in DICE for b in (2, 32)
    ]
    pd.DataFrame(costs).to_csv(tmp_path / "curve_costs_x.csv")
    return tmp_path


def test_the_page_holds_areas_differences_and_the_agreement_of_draws(report: Path) -> None:
    page = report / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nstale\n{END}\n\nafter\n")
    write_page(report, page)
    text = page.read_text()
    assert text.startswith("before\n\n" + BEGIN)
    assert text.endswith(END + "\n\nafter\n")
    assert "stale" not in text
    first = next(line for line in text.splitlines() if line.startswith("| dkd"))
    # 0.7, 0.8, 0.7 have the area 0.75; draws 0.1 apart; 0.2 above random in each of them
    assert first.startswith("| dkd | 0.700 | 0.800 | 0.700 | 0.750 [")
    assert "| 0.750, 0.850, 0.650 | +0.200 [+0.200, +0.200] | 3.2 |" in first
    assert text.index("| dkd") < text.index("| random") < text.index("| entropy")
    assert "| AUBC | 1.00 |" in text  # the order is the same in every draw


def test_a_draw_that_one_strategy_has_not_finished_is_left_out_of_all(report: Path) -> None:
    table = pd.read_csv(report / "cases.csv")
    short = (table["strategy"] == "dkd") & (table["draw_seed"] == 1) & (table["num_labeled"] == 32)
    table[~short].to_csv(report / "cases.csv")
    page = report / "page.md"
    page.write_text(f"{BEGIN}\n{END}\n")
    write_page(report, page)
    assert "draws [0, 2]" in page.read_text()
    assert "| 0.750, 0.650 |" in page.read_text()
