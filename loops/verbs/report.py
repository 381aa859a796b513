"""Pages, tables and figures of finished runs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(report)
    app.command()(compare)


def report(
    folders: Annotated[list[Path], typer.Argument(help="Run or study folders.")],
    out: Annotated[Path | None, typer.Option(help="Default: 'report' in the first folder.")] = None,
    full: Annotated[
        float | None, typer.Option(help="Dice of full supervision, if known from elsewhere.")
    ] = None,
    as_json: Json = False,
) -> None:
    """One HTML page, tables (CSV, Parquet, LaTeX) and figures (PNG, SVG, PDF) of finished runs."""
    from salearn.report.motion_job import is_motion_job, write_motion_report

    out = out or folders[0] / "report"
    if any(is_motion_job(folder) for folder in folders):
        result = write_motion_report(folders, out)
    else:
        from salearn.report.aggregate import CurveSettings
        from salearn.report.summary import write_report

        with _uncollected():
            result = write_report(folders, out, CurveSettings(full=full))
    if as_json:
        print_json(result["rows"])
    else:
        print(result["summary"])
        for name, path in result["paths"].items():
            print(f"{name}: {path}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for cycles: through the records of 1,000 runs it took 4 % of a report's time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def compare(
    a: Annotated[Path, typer.Argument(help="A run or study folder.")],
    b: Annotated[Path, typer.Argument(help="Another one; differences are B minus A.")],
    out: Annotated[Path | None, typer.Option(help="Also write tables and a figure here.")] = None,
    difference: Annotated[
        float, typer.Option(help="Difference that a further study should be able to see.")
    ] = 0.02,
    as_json: Json = False,
) -> None:
    """What differs between two runs or studies: settings, and scores paired by seed and case."""
    from salearn.report.compare import compare_runs, render, write_comparison

    found = compare_runs(a, b, size=difference)
    paths = write_comparison(found, out) if out else {}
    if as_json:
        print_json(found.to_json() | {"paths": {k: str(path) for k, path in paths.items()}})
    else:
        print(render(found))
        for name, path in paths.items():
            print(f"{name}: {path}")
    if found.table.empty:
        raise typer.Exit(1)
