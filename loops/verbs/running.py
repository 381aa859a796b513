"""Run cells and studies, and say how far they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loops.verbs.common import Changes, Config, Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verbs."""
    app.command()(run)
    app.command()(sweep)
    app.command()(status)


def run(config: Config, changes: Changes = None, as_json: Json = False) -> None:
    """Run one cell: rounds of select, annotate, train, measure. Started again, it goes on."""
    from loops.cell import run_cell
    from loops.config import load_run

    result = run_cell(load_run(config, changes or ()))
    if as_json:
        print_json(result)
    else:
        print(f"{result['rounds']} rounds ({result['ran']} run now) in {result['out']}")
        print(f"curves while it trained: tensorboard --logdir {result['out']}/tensorboard")


def sweep(
    study: Config,
    changes: Changes = None,
    dry_run: Annotated[bool, typer.Option(help="Say what would run, and stop.")] = False,
    as_json: Json = False,
) -> None:
    """Run the cells of a study that are not done, spread by Ray Tune."""
    from loops.study import load_study
    from loops.sweep import plan, sweep

    loaded = load_study(study, changes or ())
    result = plan(loaded) if dry_run else sweep(loaded)
    if as_json:
        print_json(result)
    else:
        _say_study(result)
    if result.get("failed"):
        raise typer.Exit(1)


def status(study: Path, as_json: Json = False) -> None:
    """How far the cells of a study folder are: done, failed with cause, unfinished."""
    from loops.sweep import study_status

    result = study_status(study)
    if as_json:
        print_json(result)
    else:
        for row in result["cells"]:
            cause = f"  {row['error']}" if row["error"] else ""
            print(f"{row['status']:<11}{row['rounds']} rounds  {row['folder']}{cause}")


def _say_study(result: dict[str, Any]) -> None:
    for row in result["results"]:
        factors = ", ".join(f"{k}={v}" for k, v in row["factors"].items())
        cause = f"  {row['error']}" if row["error"] else ""
        print(f"{row['status']:<11}{factors}{cause}")
    counts = ", ".join(f"{key} {result[key]}" for key in ("cells", "ran", "skipped", "failed"))
    print(f"{result['study']}: {counts}")
    print(f"curves while it trained: tensorboard --logdir {result['study']}/cells")
