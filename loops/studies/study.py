"""A study file: shared settings and factors, expanded into cells with content keys."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from loops.config import PLACE_KEYS, RunConfig, parse_run
from loops.studies.replays import replayed, with_order
from loops.studies.search.tuned import with_tuned
from loops.studies.study_settings import StudySettings
from salearn.config import override, put, read_yaml
from salearn.errors import ConfigError
from salearn.settings import dump, parse
from salearn.store import content_key, read_lines

__all__ = ["Cell", "Study", "StudySettings", "load_study", "run_config"]

REPLAYED = ("strategy", "draw_seed", "train_seed")  # what a replayed run brings with it


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One combination of factor values with everything else fixed.

    Attributes:
        values: plain settings of the run, as a config file would hold them.
        kind: key of the settings without strategy and seeds: cells of a kind cost about the same.
    """

    name: str
    key: str
    kind: str
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
    """A checked study: its settings and cells, those of high priority first.

    Attributes:
        values: plain settings of the study file with overrides, as another file would hold them.
    """

    settings: StudySettings
    cells: tuple[Cell, ...]
    values: dict[str, Any]

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
    whole = with_tuned(read_yaml(path), changes)
    values = {key: value for key, value in whole.items() if key not in ("study", "search")}
    study = parse(StudySettings, whole.get("study"), f"{path}: study")
    values.setdefault("store", str(Path(study.out) / "store"))
    cells = tuple(
        _cell(values, factors, study, str(path))
        for factors in _combinations(study)
        if not any(_matches(factors, e, "exclude") for e in study.exclude)
    )
    if not cells:
        raise ConfigError(f"{path}: study.factors and study.exclude leave no cell to run")
    _refuse_twins(cells, path)
    cells = tuple(sorted(cells, key=lambda cell: _rank(cell.factors, study.priorities)))
    return Study(settings=study, cells=cells, values=whole)


def _rank(factors: Mapping[str, Any], priorities: Sequence[Mapping[str, Any]]) -> int:
    """Place of the first pattern that the factors match; cells of no pattern come last."""
    fits = [i for i, p in enumerate(priorities) if _matches(factors, p, "priorities")]
    return min(fits, default=len(priorities))


def _combinations(study: StudySettings) -> list[dict[str, Any]]:
    """All combinations of the factors, with tied ones; those of replayed runs after them."""
    _refuse_ties(study)
    made = [
        one | {key: one[other] for key, other in study.tied.items()}
        for one in _products(study.factors)
    ]
    if not study.replay.of:
        return made
    # what a replayed run brings with it is no factor of its cells
    free = [{k: v for k, v in one.items() if k not in REPLAYED} for one in made]
    distinct = [one for i, one in enumerate(free) if one not in free[:i]]
    own = made if any(key in study.factors for key in REPLAYED) else []
    return [*own, *(one | run for run in replayed(study.replay) for one in distinct)]


def _refuse_ties(study: StudySettings) -> None:
    strangers = set(study.tied.values()) - set(study.factors)
    if strangers or set(study.tied) & set(study.factors):
        raise ConfigError(
            f"study.tied: {study.tied} must tie keys that are no factors to factors; factors are "
            f"{sorted(study.factors)}"
        )


def _products(factors: Mapping[str, list[Any]]) -> list[dict[str, Any]]:
    empty = [key for key, values in factors.items() if not values]
    if empty:
        raise ConfigError(f"study.factors.{empty[0]}: name at least one value")
    return [
        dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())
    ]


def _matches(factors: Mapping[str, Any], pattern: Mapping[str, Any], where: str) -> bool:
    strangers = set(pattern) - set(factors)
    if strangers:
        raise ConfigError(f"study.{where}: {sorted(strangers)} are no factors of this study")
    return all(factors[key] == value for key, value in pattern.items())


def _cell(
    shared: Mapping[str, Any], factors: Mapping[str, Any], study: StudySettings, where: str
) -> Cell:
    values = override(shared, [])
    for key, value in factors.items():
        put(values, key, value)
    values = with_order(values)
    run = parse_run(values, where)
    name = "__".join([*(_slug(key, value) for key, value in factors.items()), run.key[:8]])
    out = Path(study.out) / "cells" / name
    return Cell(
        name=name,
        key=run.key,
        kind=_kind(run),
        factors=dict(factors),
        values=values | {"out": str(out)},
        out=out,
        num_rounds=run.num_rounds,
    )


def _kind(run: RunConfig) -> str:
    varied = (*PLACE_KEYS, "strategy", "draw_seed", "train_seed")
    return content_key("kind", {k: v for k, v in dump(run).items() if k not in varied})


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
