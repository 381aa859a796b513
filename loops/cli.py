"""The door. Every verb imports what it needs when it runs, so --help answers at once."""

from __future__ import annotations

import sys
from importlib import import_module
from pkgutil import iter_modules

import typer

from loops import verbs
from loops.door import RefusalError, check_neighbors, refusal

app = typer.Typer(
    help="How much annotation does this segmentation task need, and which cases?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
)


def _add_verbs() -> None:
    """Every file of loops/verbs registers its verbs; a new verb is a new file."""
    for module in sorted(m.name for m in iter_modules(verbs.__path__)):
        if module != "common":
            import_module(f"loops.verbs.{module}").add(app)


_add_verbs()


def main() -> None:
    """Run a verb; what a user can mend is one paragraph and an exit code, never a traceback."""
    try:
        check_neighbors()
        app()
    except RefusalError as error:
        _fail(str(error), error.code)
    except Exception as error:
        known = refusal(error)
        if known is None:
            raise
        _fail(str(known), known.code)


def _fail(message: str, code: int) -> None:
    print(f"salearn: {message}", file=sys.stderr)
    raise SystemExit(code)
