"""What a folder of plug-ins offers, read from its files: naming a host needs no torch."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from pkgutil import iter_modules

Classes = dict[str, ast.ClassDef]


def rows_from_source(package: str) -> list[dict[str, str]] | None:
    """The rows of `Registry.describe` without importing a plug-in.

    None where only an import can tell: the registry is loaded already and may know more, plug-ins
    of other distributions are installed, two have one name, or a file registers something other
    than a class with a docstring and a SOURCE that is a plain text.

    Args:
        package: import name of the folder, e.g. "loops.ssl".
    """
    if f"{package}.registry" in sys.modules or entry_points(group="salearn.plugins"):
        return None
    found: dict[str, dict[str, str]] = {}
    try:
        for path in _files(package):
            for row in _rows(path.read_text()):
                if row["name"] in found:
                    return None
                found[row["name"]] = row
    except (OSError, SyntaxError, LookupError, RecursionError):
        return None
    return [found[name] for name in sorted(found)]


def _files(package: str) -> Iterator[Path]:
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for module in iter_modules([folder]):
            path = Path(folder) / module.name
            yield path / "__init__.py" if module.ispkg else path.with_suffix(".py")


def _rows(text: str) -> Iterator[dict[str, str]]:
    """The plug-ins of one file.

    Raises:
        LookupError: something is registered that cannot be read.
        SyntaxError: no Python.
    """
    if "register(" not in text:
        return
    tree = ast.parse(text)
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    calls = {id(node) for node in ast.walk(tree) if _is_register(node)}
    for node in classes.values():
        for call in (line for line in node.decorator_list if id(line) in calls):
            calls.remove(id(call))
            name, words = _text(getattr(call, "args", [None])[0]), ast.get_docstring(node, False)
            summary = (words or "").strip().splitlines()[0]
            yield {"name": name, "summary": summary, "source": _source(node, classes)}
    if calls:
        raise LookupError("registered elsewhere than above a class")


def _is_register(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return getattr(node.func, "id", getattr(node.func, "attr", "")) == "register"


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise LookupError("not a plain text")


def _source(node: ast.ClassDef, classes: Classes) -> str:
    """SOURCE of a class, or of the nearest base in the same file; bases elsewhere are unknown."""
    for line in node.body:
        target = line.targets[0] if isinstance(line, ast.Assign) else getattr(line, "target", None)
        if getattr(target, "id", "") == "SOURCE":
            return _text(getattr(line, "value", None))
    first = getattr(node.bases[0], "id", "") if node.bases else ""
    return _source(classes[first], classes)
