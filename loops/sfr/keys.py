"""Settings as they enter content keys: what was added later and holds its default stays out."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from salearn.settings import default_of, keyed


def told(value: Any) -> dict[str, Any]:
    """The settings without fields of `LATER` at their defaults, so that old results are found."""
    later = getattr(type(value), "LATER", ())
    plain = keyed(value)
    defaults = {field.name: default_of(field) for field in fields(value)}
    return {
        name: shown
        for name, shown in plain.items()
        if name not in later or getattr(value, name) != defaults[name]
    }
