"""One file = one plug-in: `@register("name")` in a folder makes it known by that name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from salearn.errors import ConfigError
from salearn.settings import nearest, parse

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])


class Registry(Generic[T]):
    """The plug-ins of one folder, found by importing every module in it.

    Args:
        package: import name of the folder, e.g. "strategies".
        kind: what one of them is called in messages, e.g. "strategy".
    """

    def __init__(self, package: str, kind: str) -> None:
        self.package = package
        self.kind = kind
        self._classes: dict[str, type[Any]] = {}
        self._complete = False

    def register(self, name: str) -> Callable[[C], C]:
        """Class decorator: make the class known as `name`; a name can be taken once."""

        def take(cls: C) -> C:
            other = self._classes.get(name)
            if other is not None and other.__qualname__ != cls.__qualname__:
                raise ConfigError(f"two {self.kind} plug-ins are called '{name}': {other}, {cls}")
            self._classes[name] = cls
            return cls

        return take

    def available(self) -> tuple[str, ...]:
        """All names, sorted."""
        self._discover()
        return tuple(sorted(self._classes))

    def cls(self, name: str) -> type[Any]:
        """The class registered under `name`.

        Raises:
            ConfigError: unknown name; the message gives the nearest one.
        """
        self._discover()
        if name not in self._classes:
            raise ConfigError(f"unknown {self.kind} '{name}': {nearest(name, self._classes)}")
        return self._classes[name]

    def name_of(self, plugin: object) -> str:
        """The name that the class of this instance is registered under.

        Raises:
            ConfigError: its class is not registered here.
        """
        for name, cls in self._classes.items():
            if cls is type(plugin):
                return name
        raise ConfigError(f"{type(plugin).__name__} is not registered as {self.kind}")

    def build(self, name: str, values: Mapping[str, Any] | None = None) -> T:
        """An instance of the class `name` with these settings."""
        made: T = parse(self.cls(name), values, f"{self.kind} {name}")
        return made

    def describe(self) -> list[dict[str, str]]:
        """Rows for `salearn list`: name, summary (first docstring line), source."""
        rows = []
        for name in self.available():
            cls = self._classes[name]
            summary = (cls.__doc__ or "").strip().splitlines()[0]
            source = str(getattr(cls, "SOURCE", ""))
            rows.append({"name": name, "summary": summary, "source": source})
        return rows

    def _discover(self) -> None:
        if self._complete:
            return
        self._complete = True
        package = importlib.import_module(self.package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self.package}.{module.name}")
        for point in entry_points(group="salearn.plugins"):
            point.load()
