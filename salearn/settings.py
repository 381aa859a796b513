"""Settings live in the class that obeys them: frozen pydantic dataclasses, unknown keys refused."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, TypeVar, cast, dataclass_transform

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as pydantic_dataclass

from salearn.errors import ConfigError

T = TypeVar("T")

__all__ = ["Field", "default_of", "dump", "keyed", "nearest", "parse", "settings"]


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(Field,))
def settings(cls: type[T]) -> type[T]:
    """Class decorator: frozen, keyword-only, validated, unknown keys refused."""
    config = ConfigDict(extra="forbid", validate_default=True)
    made: Any = pydantic_dataclass(frozen=True, kw_only=True, config=config)(cls)
    return cast(type[T], made)


def nearest(name: str, allowed: Iterable[str]) -> str:
    """' Did you mean ...?' for a slip, or the list of what is allowed."""
    options = sorted(allowed)
    close = difflib.get_close_matches(name, options, n=1, cutoff=0.6)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(options)}"


def parse(cls: type[T], values: Mapping[str, Any] | None, where: str) -> T:
    """An instance of a settings class from plain values.

    Args:
        where: file and key that the values came from; it opens every message.

    Raises:
        ConfigError: unknown key (with the nearest known one) or a value that does not fit.
    """
    try:
        return TypeAdapter(cls).validate_python(dict(values or {}))
    except ValidationError as error:
        sentences = [_sentence(cls, item, where) for item in error.errors()]
        raise ConfigError("; ".join(sentences)) from None


def dump(value: object) -> Any:
    """A settings instance as plain JSON values, defaults included."""
    return TypeAdapter(type(value)).dump_python(value, mode="json")


def keyed(value: Any) -> dict[str, Any]:
    """A settings instance as it enters content keys, at any depth without what is `NEWER`.

    Fields that a class names in `NEWER` were added after results had been stored: while they hold
    their default they stay out, so that a setting nobody uses makes no old result be made again.
    """
    shown: dict[str, Any] = dump(value)
    _leave_out(value, shown)
    return shown


def _leave_out(value: Any, shown: dict[str, Any]) -> None:
    newer = getattr(type(value), "NEWER", ())
    for field in fields(value):
        part = getattr(value, field.name)
        if field.name in newer and part == default_of(field):
            del shown[field.name]
        elif is_dataclass(part) and isinstance(shown.get(field.name), dict):
            _leave_out(part, shown[field.name])


def default_of(field: Any) -> Any:
    """What a field of a settings class holds where nothing is given."""
    default = field.default
    if hasattr(default, "get_default"):  # pydantic's Field
        return default.get_default(call_default_factory=True)
    return field.default_factory() if default is MISSING else default


def _sentence(cls: type[Any], item: Any, where: str) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join([where, *path]) if where else ".".join(path)
    if item["type"] in {"unexpected_keyword_argument", "extra_forbidden"}:
        owner = _owner(cls, path[:-1])
        return f"{key}: unknown key, {nearest(path[-1], owner)}"
    if item["type"] == "value_error":  # raised by a settings class itself: it names its keys
        return f"{key}: {item['ctx']['error']}" if key else str(item["ctx"]["error"])
    return f"{key}: {item['msg']}, got {item.get('input')!r}"


def _owner(cls: type[Any], path: list[str]) -> list[str]:
    """Names of the fields at `path` below a settings class."""
    schema = TypeAdapter(cls).json_schema()
    node = schema
    for part in ["", *path]:
        node = node.get("properties", {}).get(part, {}) if part else node
        options = [node, *node.get("anyOf", []), *node.get("allOf", [])]
        reference = next((o["$ref"] for o in options if "$ref" in o), None)
        if reference:
            node = schema["$defs"][reference.rsplit("/", 1)[-1]]
    return list(node.get("properties", {}))
