"""Check somebody's study by running a part of it again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loops.verbs.common import Changes, Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(verify)


def verify(
    archive: Annotated[Path, typer.Argument(help="What `salearn export study` wrote.")],
    changes: Changes = None,
    seed: Annotated[int | None, typer.Option(help="Of the draw of the cell.")] = None,
    cell: Annotated[str | None, typer.Option(help="Key of the cell instead of a draw.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="Of a Dice; 0 = equal to the bit, as on a machine of that kind.")
    ] = 0.0,
    as_json: Json = False,
) -> None:
    """Check the hashes of an archive, run a random cell of it anew and compare."""
    from loops.studies.archive import verify as check

    result = check(archive, changes or (), seed=seed, key=cell, tolerance=tolerance)
    if as_json:
        print_json(result)
    else:
        told = "equal to the bit" if result["bit_equal"] else "not equal to the bit"
        print(f"{result['cell']}: {told}, same data: {result['same_data']}, same queries: "
              f"{result['same_queries']}, Dice differs by {result['dice_difference']}")  # fmt: skip
        print("passed" if result["ok"] else "FAILED")
    if not result["ok"]:
        raise typer.Exit(1)
