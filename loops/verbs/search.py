"""Search inner settings on a frozen proxy split of the pool."""

from __future__ import annotations

from typing import Annotated

import typer

from loops.verbs.common import Changes, Config, Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(search)


def search(
    config: Config,
    changes: Changes = None,
    backend: Annotated[str | None, typer.Option(help="ray or serial.")] = None,
    address: Annotated[str | None, typer.Option(help="Of a running Ray cluster, or auto.")] = None,
    as_json: Json = False,
) -> None:
    """Search rates, ranks and weights by validation Dice; writes best.yaml for `tuned=`."""
    from loops.studies.search.search import load_search
    from loops.studies.search.search import search as run

    named = {"backend": backend, "address": address}
    given = [f"search.{key}={value}" for key, value in named.items() if value is not None]
    result = run(load_search(config, [*(changes or ()), *given]))
    if as_json:
        print_json(result)
    else:
        counts = ", ".join(f"{n} {status}" for status, n in sorted(result["counts"].items()))
        print(f"{result['search']}: {counts} ({result['ran']} run now)")
        print(f"validation Dice {result['best']}, as it stood {result['baseline']}")
        print(f"use it: tuned={result['file']}")
    if result["file"] is None:
        raise typer.Exit(1)
