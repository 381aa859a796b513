"""The matrix of hosts, bare and wrapped, from a finished study, written into docs/hosts.md.

python -m benchmarks.host_matrix_page studies/host_matrix [--page docs/hosts.md]

Reads the tables that `salearn report` wrote (cases.csv); replaces what stands between the markers.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks.common import between
from benchmarks.intervals import alone, minus
from salearn.report.text import markdown

BEGIN, END = "<!-- begin: benchmarks.host_matrix -->", "<!-- end: benchmarks.host_matrix -->"
STAGES = ("student", "teacher")
PLUG = "sfr_"


class Cases:
    """Dice of every case (mean over classes) by learner, stage and budget, as "run case"."""

    def __init__(self, table: pd.DataFrame) -> None:
        table = table[table["split"] == "test"]
        where = ["learner", "stage", "num_labeled", "draw_seed", "case"]
        mean = table.groupby(where)["dice"].mean()
        self.budgets = sorted(set(table["num_labeled"]))
        self.hosts = [n for n in dict.fromkeys(table["learner"]) if not n.startswith(PLUG)]
        self._mean = mean

    def of(self, learner: str, stage: str, budget: int) -> pd.DataFrame:
        """Rows are draw seeds, columns cases; empty where nothing has run."""
        place = (learner, stage, budget)
        known = place in self._mean.index
        return self._mean.loc[place].unstack("case") if known else pd.DataFrame()

    def mean(self, learner: str, stage: str, budget: int) -> float:
        """Over draws and cases; -inf where nothing has run."""
        found = self.of(learner, stage, budget)
        return -np.inf if found.empty else float(found.to_numpy().mean())


def _alone(found: pd.DataFrame) -> str:
    return "-" if found.empty else alone(found.to_numpy(), [int(seed) for seed in found.index])


def _minus(one: pd.DataFrame, other: pd.DataFrame) -> str:
    shared = one.index.intersection(other.index)
    if shared.empty:
        return "-"
    arms = (table.loc[shared].to_numpy() for table in (one, other))
    return minus(*arms, [int(seed) for seed in shared])


def matrix(cases: Cases, stage: str) -> str:
    """A row a host: bare, wrapped, wrapped - bare at each budget; the best bare one first."""
    first = cases.budgets[0]
    order = sorted(cases.hosts, key=lambda host: -cases.mean(host, stage, first))
    heads = ["host"]
    for budget in cases.budgets:
        word = "mask" if budget == 1 else "masks"
        heads += [f"{budget} {word}, bare", f"{budget} {word}, with SFR", "difference"]
    rows = [[host, *_row(cases, host, stage)] for host in order]
    return markdown(heads, rows)


def _row(cases: Cases, host: str, stage: str) -> list[str]:
    cells = []
    for budget in cases.budgets:
        bare, wrapped = (cases.of(name, stage, budget) for name in (host, PLUG + host))
        cells += [_alone(bare), _alone(wrapped), _minus(wrapped, bare)]
    return cells


def against_supervised(cases: Cases, stage: str) -> str:
    """Each bare host minus the supervised student."""
    rows = [
        [
            h,
            *(
                _minus(cases.of(h, stage, b), cases.of("supervised", stage, b))
                for b in cases.budgets
            ),
        ]
        for h in cases.hosts
        if h != "supervised"
    ]
    return markdown(["host - supervised", *(f"labeled: {b}" for b in cases.budgets)], rows)


def sam_alone(cases: Cases) -> str:
    """SAM3 with its adapter on the test cases: one adapter for all wrapped hosts of a draw."""
    found = [_alone(cases.of(PLUG + "supervised", "sam", b)) for b in cases.budgets]
    return markdown(["", *(f"labeled: {b}" for b in cases.budgets)], [["SAM3 alone", *found]])


def write_page(folder: Path, page: Path) -> None:
    """Replace the part between the markers of the page."""
    cases = Cases(pd.read_csv(folder / "report" / "cases.csv"))
    blocks: list[str] = [sam_alone(cases)]
    for stage in STAGES:
        blocks += [f"**{stage.capitalize()}**", matrix(cases, stage)]
    blocks += ["**Bare hosts minus the supervised student**", against_supervised(cases, "student")]
    between(page, BEGIN, END, blocks)
    print("\n\n".join(blocks))


def main(words: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_matrix_page")
    parser.add_argument("study", type=Path)
    parser.add_argument("--page", type=Path, default=Path("docs/hosts.md"))
    given = parser.parse_args(words)
    write_page(given.study, given.page)


if __name__ == "__main__":
    main()
