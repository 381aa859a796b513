"""Queries of a run as a portable file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from loops.verbs.common import Json, print_json


def add(app: typer.Typer) -> None:
    """Register the verb."""
    app.command()(querylog)


def querylog(
    source: Annotated[Path, typer.Argument(help="A run folder, or a query log to check.")],
    out: Annotated[Path | None, typer.Option(help="File to write (JSON lines).")] = None,
    scores: Annotated[bool, typer.Option(help="With the scores of all candidates.")] = False,
    as_json: Json = False,
) -> None:
    """Export the queries of a run; `strategy: {name: replay, log: FILE}` asks for them again."""
    from salearn.errors import ConfigError, DataError
    from salearn.querylog import export_run, read_query_log, write_query_log

    try:
        log = export_run(source, scores) if source.is_dir() else read_query_log(source)
    except DataError as error:
        raise ConfigError(str(error)) from None
    if out is not None:
        write_query_log(log, out)
    if as_json:
        print_json({"head": dict(log.head), "queries": [dict(query) for query in log.queries]})
    else:
        who = f"{log.head['strategy']} x {log.head['learner']}"
        where = f" -> {out}" if out else ""
        print(f"{who} on {log.head['dataset']}: {len(log.queries)} units{where}")
