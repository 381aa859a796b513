"""Every registered strategy has its page of five lines, and no page is of nothing."""

import re
from pathlib import Path

import pytest

from strategies.limits import RELAXED
from strategies.registry import STRATEGIES, available

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "strategies.md").read_text()
PAGES = dict(re.findall(r"^## (\w+)\n((?:- .*\n)+)", TEXT, flags=re.MULTILINE))
PARTS = ["What", "Source", "Reconstruction", "Cost", "When"]


@pytest.mark.parametrize("name", available())
def test_a_strategy_has_five_lines_of_fixed_names(name: str) -> None:
    found = re.findall(r"^- \*\*(\w+)\*\*: (\S.*)$", PAGES[name], flags=re.MULTILINE)
    assert [part for part, _ in found] == PARTS


def test_there_is_no_page_of_a_strategy_that_is_gone() -> None:
    assert set(PAGES) <= set(available())


def test_what_is_reconstructed_in_the_code_is_not_called_nothing_on_its_page() -> None:
    for row in STRATEGIES.describe():
        if "reconstruction" in row["source"]:
            line = re.search(r"\*\*Reconstruction\*\*: (.*)", PAGES[row["name"]])
            assert line is not None
            assert not line[1].startswith("nothing.")


def test_the_order_in_which_rules_give_way_is_the_one_in_the_code() -> None:
    assert ", ".join(RELAXED[:4]) in TEXT
