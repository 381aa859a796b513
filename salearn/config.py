"""YAML -> frozen settings, with dotted overrides; a slip is refused with the nearest right key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml

from salearn.errors import ConfigError
from salearn.settings import parse

T = TypeVar("T")


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        ConfigError: no such file, broken YAML, or the file does not hold a mapping.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such config file; the shipped ones lie in configs/")
    try:
        values = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: expected 'key: value' lines at the top level")
    return values


def override(values: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """A copy of `values` with `a.b=value` changes applied; values are parsed as YAML.

    Raises:
        ConfigError: a change without "=", or a path through something that is not a mapping.
    """
    result = _copy(values)
    for change in changes:
        key, mark, text = change.partition("=")
        if not mark or not key:
            raise ConfigError(f"override '{change}': write it as key=value, e.g. data.root=/path")
        put(result, key, _value(change, text))
    return result


def put(values: dict[str, Any], key: str, value: Any) -> None:
    """Set the dotted `key` in nested mappings, in place; a bare name makes way for a mapping."""
    *parents, last = key.split(".")
    node = values
    for parent in parents:
        child = node.get(parent)
        if isinstance(child, str):
            child = {"name": child}
        if child is not None and not isinstance(child, dict):
            raise ConfigError(f"{key}: '{parent}' is a single value, it has no key below it")
        node[parent] = child = dict(child or {})
        node = child
    node[last] = value


def load(cls: type[T], path: Path, changes: Sequence[str] = ()) -> T:
    """A settings class from a YAML file and overrides."""
    return parse(cls, override(read_yaml(path), changes), str(path))


def _value(change: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override '{change}': value is not valid YAML: {error}") from None


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: _copy(v) if isinstance(v, Mapping) else v for k, v in values.items()}
