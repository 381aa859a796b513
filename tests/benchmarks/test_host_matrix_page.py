"""The matrix of hosts on its page: means by hand, order, and what has not run."""

from pathlib import Path

import pandas as pd

from benchmarks.host_matrix_page import BEGIN, END, write_page

DICE = {"supervised": 0.5, "cps": 0.6, "sfr_supervised": 0.7}  # sfr_cps has not run


def _rows():
    for learner, dice in DICE.items():
        for stage in ("student", "teacher", "sam"):
            for seed, shift in ((0, -0.1), (1, 0.1)):
                for case in range(3):
                    yield {"split": "test", "learner": learner, "stage": stage, "num_labeled": 1,
                           "draw_seed": seed, "case": f"c{case}", "dice": dice + shift}  # fmt: skip


def test_the_page_holds_means_differences_and_dashes_between_its_markers(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    pd.DataFrame(_rows()).to_csv(tmp_path / "report" / "cases.csv")
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    write_page(tmp_path, page)
    text = page.read_text()
    assert text.startswith("before\n\n" + BEGIN)
    assert text.endswith(END + "\n\nafter\n")
    assert "old" not in text
    lines = [line for line in text.splitlines() if line.startswith(("| supervised", "| cps"))]
    assert lines[0].startswith("| cps | 0.600 [")  # the best bare host first
    assert lines[0].endswith("| - | - |")
    # both draws of both arms are 0.1 off their means alike: the paired difference is 0.2 in each
    assert (
        "| supervised | 0.500 [0.400, 0.600] | 0.700 [0.600, 0.800] | +0.200 [+0.200, +0.200]"
        in (lines[1])
    )
    assert lines[-1] == "| cps | +0.100 [+0.100, +0.100] |"  # minus supervised
