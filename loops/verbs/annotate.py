"""Take the masks that people returned."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(annotate)


def annotate(
    worklist: Annotated[Path, typer.Argument(help="The folder that `salearn query` wrote.")],
    run: Annotated[Path | None, typer.Option(help="The run folder, if it moved.")] = None,
    confirm: Annotated[
        list[str] | None,
        typer.Option(help="A unit or case that is right although untouched or empty."),
    ] = None,
    masks: Annotated[
        Path | None, typer.Option(help="Where the masks are, if not in WORKLIST/masks.")
    ] = None,
    close: Annotated[bool, typer.Option("--close", help="Give up what is still open.")] = False,
    as_json: Json = False,
) -> None:
    """Check returned masks and add the good ones to the log; refused ones stay open (exit 1)."""
    from loops.annotation.annotate import annotate as take

    result = take(worklist, run, confirm or (), close, masks)
    if as_json:
        print_json(result)
    else:
        _say(result)
    if result["findings"] and not result["complete"]:
        raise typer.Exit(1)


def _say(result: dict[str, Any]) -> None:
    for kind, lines in (("refused", result["findings"]), ("note", result["warnings"])):
        for line in lines:
            print(f"{kind}: case {line['case']}, {line['file']}: {line['problem']}; "
                  f"{line['remedy']}")  # fmt: skip
    counts = ", ".join(f"{len(result[key])} {key}" for key in ("accepted", "already", "open"))
    print(f"round {result['round']}: {counts}")
    if result["complete"]:
        print(f"go on: salearn run {result['run']}/config.yaml")
