"""SAM3 asked by text, boxes and clicks."""

from __future__ import annotations

import typer

from loops.verbs.common import Changes, Config, Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(interactive)


def interactive(config: Config, changes: Changes = None, as_json: Json = False) -> None:
    """Text prompts, simulated boxes and clicks on test slices: Dice@n, clicks needed, jitter."""
    from loops.interactive.config import load_interactive
    from loops.interactive.run import run_interactive
    from loops.interactive.table import render
    from salearn.store import finite

    result = run_interactive(load_interactive(config, changes or ()))
    if as_json:
        print_json(finite(result))
    else:
        print(render(result))
        print(f"table, cases and query log in {result['out']}")
