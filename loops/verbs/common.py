"""Arguments that verbs share, and how a JSON document is printed."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import repeat
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

    json indents in Python, line by line, and writes every name of every row anew. Rows of plain
    values under the same names are written here by columns, what does not change once.
    """
    names = tuple(rows[0]) if type(rows[0]) is dict else ()
    alike = names and {str} == set(map(type, names))
    if not alike or not all(type(row) is dict and tuple(row) == names for row in rows):
        return _indented(rows)[3:-2]
    columns = list(zip(*(row.values() for row in rows), strict=True))
    kinds = [set(map(type, column)) for column in columns]
    if not set().union(*kinds) <= PLAIN:
        return _indented(rows)[3:-2]
    parts: list[Iterable[str]] = []
    words = " {\n  "
    for name, column, found in zip(names, columns, kinds, strict=True):
        words += f"{_dumps(name)}: "
        if len(found) == 1 and column.count(column[0]) == len(column) and float not in found:
            words += _dumps(column[0])
        else:
            parts += [repeat(words), _texts(column, found)]
            words = ""
        words += ",\n  "
    end = words.removesuffix(",\n  ") + "\n }"
    return ",\n".join(map("".join, zip(*parts, repeat(end, len(rows)), strict=False)))[1:]


def _texts(column: Sequence[Any], kinds: set[type]) -> Iterable[str]:
    """Plain values as JSON, NaN and infinities as null."""
    if len(kinds) > 1:
        return ["null" if _unknown(value) else _dumps(value) for value in column]
    if float in kinds:  # as json writes them, and several times faster without asking it
        return [repr(value) if math.isfinite(value) else "null" for value in column]
    known = {value: _dumps(value) for value in set(column)}
    return map(known.__getitem__, column)


def _unknown(value: Any) -> bool:
    return type(value) is float and not math.isfinite(value)


def _indented(value: Any) -> str:
    from salearn.store import finite

    return _dumps(finite(value), indent=1)


def _dumps(value: Any, **layout: Any) -> str:
    return json.dumps(value, default=str, allow_nan=False, **layout)
