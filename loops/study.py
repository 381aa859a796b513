"""A study file: shared settings and factors, expanded into cells with content keys."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from loops.config import RunConfig, parse_run
from salearn.config import override, put, read_yaml
from salearn.errors import ConfigError
from salearn.settings import Field, parse, settings
from salearn.store import read_lines


@settings
class StudySettings:
    """The `study` section of a study file.

    Attributes:
        factors: dotted key -> the values it takes; the cells are all combinations.
        exclude: combinations that are left out, as {key: value} of some factors.
        out: folder of the study; cells lie in `cells`, shared results in `store`.
        cpu, gpu: share of one machine that a cell holds while it runs.
        parallel: most cells at once (default: as many as the cores allow).
        backend: "ray", or "serial" without Ray, in this process.
        retries: how often Ray starts a cell again whose worker died.
        object_store_mb: bound on Ray's shared memory; cells share files, not objects.
    """

    name: str = "study"
    factors: dict[str, list[Any]] = Field(default_factory=dict)
    exclude: list[dict[str, Any]] = Field(default_factory=list)
    out: str = "studies/study"
    cpu: float = Field(default=1, gt=0)
    gpu: float = Field(default=0, ge=0)
    parallel: int | None = Field(default=None, ge=1)
    backend: Literal["ray", "serial"] = "ray"
    retries: int = Field(default=2, ge=0)
    object_store_mb: int = Field(default=128, ge=80)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of factor values with everything else fixed.

    Attributes:
        values: plain settings of the run, as a config file would hold them.
    """

    name: str
    key: str
    factors: dict[str, Any]
    values: dict[str, Any]
    out: Path
    num_rounds: int

    @property
    def rounds_done(self) -> int:
        """Finished rounds, read from the cell's log."""
        return len(read_lines(self.out / "rounds.jsonl"))

    @property
    def done(self) -> bool:
        """Whether every round is finished."""
        return self.rounds_done >= self.num_rounds


@dataclass(frozen=True, kw_only=True)
class Study:
    """A checked study: its settings and cells."""

    settings: StudySettings
    cells: tuple[Cell, ...]

    @property
    def out(self) -> Path:
        """Folder of the study."""
        return Path(self.settings.out)


def load_study(path: Path, changes: Sequence[str] = ()) -> Study:
    """The study in a YAML file with overrides; a plain run config is a study of one cell.

    Every cell is checked before anything runs.

    Raises:
        ConfigError: unknown key, name or factor, an impossible value, two equal cells.
    """
    values = override(read_yaml(path), changes)
    section = values.pop("study", {})
    study = parse(StudySettings, section, f"{path}: study")
    values.setdefault("store", str(Path(study.out) / "store"))
    cells = tuple(
        _cell(values, factors, study, str(path))
        for factors in _combinations(study.factors)
        if not any(_matches(factors, e) for e in study.exclude)
    )
    if not cells:
        raise ConfigError(f"{path}: study.factors and study.exclude leave no cell to run")
    _refuse_twins(cells, path)
    return Study(settings=study, cells=cells)


def _combinations(factors: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    empty = [key for key, values in factors.items() if not values]
    if empty:
        raise ConfigError(f"study.factors.{empty[0]}: name at least one value")
    return [
        dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())
    ]


def _matches(factors: Mapping[str, Any], pattern: Mapping[str, Any]) -> bool:
    strangers = set(pattern) - set(factors)
    if strangers:
        raise ConfigError(f"study.exclude: {sorted(strangers)} are no factors of this study")
    return all(factors[key] == value for key, value in pattern.items())


def _cell(
    shared: Mapping[str, Any], factors: Mapping[str, Any], study: StudySettings, where: str
) -> Cell:
    values = override(shared, [])
    for key, value in factors.items():
        put(values, key, value)
    run = parse_run(values, where)
    name = "__".join([*(_slug(key, value) for key, value in factors.items()), run.key[:8]])
    out = Path(study.out) / "cells" / name
    return Cell(
        name=name,
        key=run.key,
        factors=dict(factors),
        values=values | {"out": str(out)},
        out=out,
        num_rounds=len(run.budget),
    )


def run_config(cell: Cell) -> RunConfig:
    """The settings of a cell."""
    return parse_run(cell.values, f"cell {cell.name}")


def _slug(key: str, value: Any) -> str:
    """A name stands for itself; a number needs its key beside it."""
    text = value.get("name", value) if isinstance(value, dict) else value
    if not isinstance(text, str):
        text = f"{key.rpartition('.')[2]}-{text}"
    return re.sub(r"[^A-Za-z0-9_.]+", "-", text).strip("-")[:40]


def _refuse_twins(cells: Sequence[Cell], path: Path) -> None:
    seen: dict[str, Cell] = {}
    for cell in cells:
        if cell.key in seen:
            raise ConfigError(
                f"{path}: cells {seen[cell.key].factors} and {cell.factors} compute the same thing"
            )
        seen[cell.key] = cell
