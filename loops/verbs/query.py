"""Ask people for the next masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(query)


def query(
    run: Annotated[Path, typer.Argument(help="A run folder, or the YAML file of a new run.")],
    out: Annotated[Path, typer.Option(help="Folder of the worklist.")],
    n: Annotated[
        int | None, typer.Option("--n", help="Units; default: what the budget names.", min=1)
    ] = None,
    copy: Annotated[bool, typer.Option("--copy", help="Copy the images, do not link.")] = False,
    as_json: Json = False,
) -> None:
    """Write a worklist: the units that the strategy wants next, to be annotated by people."""
    from loops.annotation.query import query as ask

    result = ask(run, out, n, copy)
    if as_json:
        print_json(result)
        return
    told = "asked" if result["new"] else "had asked already"
    print(
        f"round {result['round']} {told} for {len(result['units'])}: {', '.join(result['units'])}"
    )
    print(f"the list is in {out}; edit {out}/masks, then: salearn annotate {out}")
