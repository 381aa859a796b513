"""Arguments that verbs share, and how a JSON document is printed."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Config = Annotated[Path, typer.Argument(help="A YAML file, e.g. configs/demo.yaml.")]
Changes = Annotated[
    list[str] | None, typer.Argument(help="Overrides, e.g. data.root=/path strategy.name=dkd.")
]

BATCH = 256
PLAIN = {str, int, float, bool, type(None)}


def print_json(value: Any) -> None:
    """Write one document to standard output; NaN and infinities become null."""
    for piece in _pieces(value):
        sys.stdout.write(piece)
    print()


def _pieces(value: Any) -> Iterator[str]:
    """A long list in pieces: the rows of a large study are never in memory as one text."""
    if not isinstance(value, list) or len(value) < BATCH:
        yield _indented(value)
        return
    for start in range(0, len(value), BATCH):
        yield ("," if start else "[") + "\n "
        yield _rows(value[start : start + BATCH])
    yield "\n]"


def _rows(rows: list[Any]) -> str:
    """Entries of a list, without its brackets, as `indent=1` writes them.

    json indents in Python, line by line. Rows of plain values are written by its C code instead,
    with the line break in the separator: a break within a text is escaped, so what stands between
    two rows is found again.
    """
    if all(type(row) is dict and row and PLAIN.issuperset(map(type, row.values())) for row in rows):
        try:
            text = _dumps(rows, separators=(",\n  ", ": "))
            return "{\n  " + text[2:-2].replace("},\n  {", "\n },\n {\n  ") + "\n }"
        except ValueError:  # NaN or infinity somewhere
            pass
    return _indented(rows)[3:-2]


def _indented(value: Any) -> str:
    from salearn.store import finite

    return _dumps(finite(value), indent=1)


def _dumps(value: Any, **layout: Any) -> str:
    return json.dumps(value, default=str, allow_nan=False, **layout)
