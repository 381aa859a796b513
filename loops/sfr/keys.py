"""Settings as they enter content keys: what was added later and holds its default stays out."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from salearn.settings import dump


def told(value: Any) -> dict[str, Any]:
    """The settings without fields of `LATER` at their defaults, so that old results are found."""
    later = getattr(type(value), "LATER", ())
    plain: dict[str, Any] = dump(value)
    defaults = {field.name: _default(field) for field in fields(value)}
    return {
        name: shown
        for name, shown in plain.items()
        if name not in later or getattr(value, name) != defaults[name]
    }


def _default(field: Any) -> Any:
    default = field.default
    if hasattr(default, "get_default"):  # pydantic's Field
        return default.get_default(call_default_factory=True)
    return field.default_factory() if default is MISSING else default
