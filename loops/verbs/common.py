"""Arguments that verbs share, and how a JSON document is printed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from salearn.store import finite

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Config = Annotated[Path, typer.Argument(help="A YAML file, e.g. configs/demo.yaml.")]
Changes = Annotated[
    list[str] | None, typer.Argument(help="Overrides, e.g. data.root=/path strategy.name=dkd.")
]


def print_json(value: Any) -> None:
    """Write one document to standard output."""
    json.dump(finite(value), sys.stdout, indent=1, default=str, allow_nan=False)
    print()
