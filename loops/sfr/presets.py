"""Presets: named sets of settings in configs/presets, and how a run differs from them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from salearn.config import read_yaml
from salearn.errors import ConfigError
from salearn.settings import nearest

FOLDER = Path(__file__).parents[2] / "configs" / "presets"


def with_preset(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values on top of those of the preset they name; unchanged if they name none.

    Raises:
        ConfigError: no such preset; the nearest one is named.
    """
    name = values.get("preset")
    return dict(values) if name is None else _on_top(values, read_preset(str(name), where))


def read_preset(name: str, where: str = "preset") -> dict[str, Any]:
    """The values of a preset, by its name or its file.

    Raises:
        ConfigError: no such preset.
    """
    known = {path.stem: path for path in FOLDER.glob("*.yaml")}
    path = known.get(name, Path(name))
    if not path.is_file():
        hint = nearest(name, known) if known else f"{FOLDER} is not there; name a file"
        raise ConfigError(f"{where}: preset: there is no preset '{name}': {hint}")
    return read_yaml(path)


Difference = dict[str, dict[str, Any]]  # dotted key -> {"preset": value, "run": value}


def all_differences(config: Mapping[str, Any]) -> dict[str, Difference]:
    """What sets a run apart from every shipped preset, and from its own where that is a file."""
    names = {path.stem for path in FOLDER.glob("*.yaml")} | {config.get("preset")} - {None}
    return {str(name): differences(config, str(name)) for name in sorted(names, key=str)}


def differences(config: Mapping[str, Any], name: str) -> Difference:
    """Keys that a preset sets and the run has otherwise.

    Args:
        config: every setting of a run, plain values.
    """
    run = dict(_flat(config))
    return {
        key: {"preset": value, "run": run.get(key)}
        for key, value in _flat(read_preset(name))
        if not _same(run.get(key), value)
    }


def sentence(name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """The differences in one line, for people."""
    if not found:
        return f"preset {name}: as it is"
    parts = [f"{key} {row['run']} (preset: {row['preset']})" for key, row in found.items()]
    return f"preset {name}, but for: {'; '.join(parts)}"


def _on_top(values: Mapping[str, Any], below: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in values.items():
        under = merged.get(key)
        if isinstance(value, str) and isinstance(under, Mapping) and "name" in under:
            value = {"name": value}
        if isinstance(value, Mapping) and isinstance(under, Mapping):
            merged[key] = _on_top(value, under) if _alike(value, under) else dict(value)
        else:
            merged[key] = value
    return merged


def _same(one: Any, other: Any) -> bool:
    pair = [list(v) if isinstance(v, list | tuple) else v for v in (one, other)]
    return bool(pair[0] == pair[1])


def _alike(value: Mapping[str, Any], under: Mapping[str, Any]) -> bool:
    """Whether settings of the one name fit the other: a host, bare or wrapped, is one host."""
    names = [str(v.get("name", "")).removeprefix("sfr_plus_").removeprefix("sfr_")
             for v in (value, under)]  # fmt: skip
    return not all(names) or names[0] == names[1]


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", list(value) if isinstance(value, tuple) else value
