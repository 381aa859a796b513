"""Write what other tools read. A further target is a further command of `export`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loops.verbs.common import Json, print_json

export = typer.Typer(help="Write what other tools read.", no_args_is_help=True)


def add(app: typer.Typer) -> None:
    """Register the verb and its targets."""
    app.add_typer(export, name="export")


@export.callback()
def _targets() -> None:
    """Write what other tools read."""


@export.command()
def monailabel(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    out: Annotated[Path, typer.Argument(help="Folder of the app.")],
    as_json: Json = False,
) -> None:
    """A MONAI Label app: strategies as next image, the student as first mask."""
    from loops.annotation.export_app import export_app

    result = export_app(run, out)
    if as_json:
        print_json(result)
    else:
        print(f"{out}: an app with {len(result['strategies'])} strategies; see {out}/README.md")


@export.command()
def study(
    folder: Annotated[Path, typer.Argument(help="A study folder.")],
    out: Annotated[Path, typer.Argument(help="The archive, e.g. study.tar.gz.")],
    as_json: Json = False,
) -> None:
    """One archive of configs, tables, query logs and hashes; `salearn verify` repeats a cell."""
    from loops.studies.archive import export_study

    result = export_study(folder, out)
    if as_json:
        print_json(result)
    else:
        left = f", {len(result['left_out'])} unfinished left out" if result["left_out"] else ""
        print(f"{out}: {result['cells']} cells{left}, SHA-256 {result['sha256']}")
