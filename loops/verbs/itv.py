"""Internal target volumes from 4-D scans."""

from __future__ import annotations

import math
from typing import Any

import typer

from loops.verbs.common import Changes, Config, Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(itv)


def itv(config: Config, changes: Changes = None, as_json: Json = False) -> None:
    """4-D: annotate k phases, train, predict all phases, filter, build ITVs, measure. Resumes."""
    from loops.itv.config import load_itv
    from loops.itv.run import run_itv
    from salearn.store import finite

    result = run_itv(load_itv(config, changes or ()))
    if as_json:
        print_json(finite(result))
        return
    print(f"{'labels':<7}{'mining':<7}{'filter':<24}{'class':<10}{'ITV Dice':>9}{'HD95 mm':>9}"
          f"{'FP ml':>9}{'sensit.':>9}{'retention':>11}")  # fmt: skip
    for row in result["summary"]:
        print(_line(row))
    print(f"label files in {result['files']}, page {result['report']}")


def _line(row: dict[str, Any]) -> str:
    names = ("dice", "hd95_mm", "false_positive_ml", "coverage", "retention")
    values = [row.get(name, math.nan) for name in names]
    cells = ["-" if math.isnan(v) else f"{v:.3f}" for v in values]
    head = f"{row['num_labeled']!s:<7}{row['mining']:<7}{row['filter']:<24}{row['class']:<10}"
    return head + "".join(f"{cell:>9}" for cell in cells[:4]) + f"{cells[4]:>11}"
