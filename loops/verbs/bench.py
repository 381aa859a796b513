"""What the parts cost here, beside public implementations."""

from __future__ import annotations

from typing import Annotated

import typer

from loops.verbs.common import Json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(bench)


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Benchmarks, e.g. stitch select; default: all.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only name what there is.")] = False,
    as_json: Json = False,
) -> None:
    """Time each part against public implementations in one run (a checkout is needed)."""
    from loops.benches import bench_names, run_benches

    if listed:
        from loops.verbs.common import print_json

        print_json(bench_names()) if as_json else print("\n".join(bench_names()))
        return
    if failed := run_benches(names or [], as_json):
        raise typer.Exit(failed)
