"""The report of a finished 4-D job, read from its folder: tables, tidy rows and the page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from salearn.errors import ConfigError
from salearn.report.motion import HEAD
from salearn.report.tables import write_table
from salearn.report.text import markdown
from salearn.store import finite, read_json, read_lines, write_text

SUMMARY, SCORES, PAGE = "itv_summary.json", "itv.jsonl", "report.html"
SHOWN = ("dice", "hd95_mm", "coverage", "false_positive_ml", "retention")


def is_motion_job(folder: Path) -> bool:
    """Whether `salearn itv` has finished here."""
    return (folder / SUMMARY).is_file()


def write_motion_report(folders: Sequence[Path], out: Path) -> dict[str, Any]:
    """Write tables, summary.md and the page of one 4-D job; the same answer as `write_report`.

    Returns:
        {"summary", "paths", "rows": one per budget, arm, filter, class and metric (means over
        test patients; lengths in mm, volumes in ml)}.

    Raises:
        ConfigError: 4-D jobs are given together with other folders.
    """
    if len(folders) != 1:
        names = ", ".join(map(str, folders))
        raise ConfigError(f"{names}: report a 4-D job alone; its measures are not those of a study")
    import pandas as pd

    folder = folders[0]
    summary: list[dict[str, Any]] = read_json(folder / SUMMARY)
    tables = {"itv": summary, "itv_patients": read_lines(folder / SCORES)}
    paths: dict[str, Path] = {}
    for name, rows in tables.items():
        frame = pd.DataFrame([_plain(row) for row in rows])
        written = write_table(frame, out / name)
        paths |= {f"{name}.{kind}": path for kind, path in written.items()}
    paths["report"] = out / PAGE
    # tracks, occupancy and panels were drawn while the scans were at hand
    write_text(paths["report"], (folder / PAGE).read_text(encoding="utf-8"))
    text = _text(folder, summary)
    paths["summary"] = out / "summary.md"
    write_text(paths["summary"], text)
    return {"summary": text, "paths": paths, "rows": list(_tidy(folder, summary))}


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """One column one type: budgets are words ("all" is one), lists are joined."""
    joined = {k: "; ".join(map(str, v)) for k, v in row.items() if isinstance(v, list)}
    return row | joined | {"num_labeled": str(row["num_labeled"])}


def _tidy(folder: Path, summary: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "cell": folder.name,
            **{key: row[key] for key in HEAD},
            "metric": name,
            "value": finite(value),
        }
        for row in summary
        for name, value in row.items()
        if name not in HEAD and isinstance(value, int | float)
    ]


def _text(folder: Path, summary: Sequence[dict[str, Any]]) -> str:
    rows = [[str(row[key]) for key in HEAD] + [_cell(row.get(key)) for key in SHOWN]
            for row in summary]  # fmt: skip
    table = markdown([*HEAD, *SHOWN], rows)
    return f"# Internal target volumes: {folder}\n\nMeans over test patients.\n\n{table}\n"


def _cell(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
