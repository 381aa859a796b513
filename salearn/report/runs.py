"""Reads run and study folders. Nothing is dropped in silence: what cannot be used is listed."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from salearn.errors import ConfigError, DataError
from salearn.report.case_lines import CASES, read_cases, with_cases
from salearn.store import read_json, read_lines

if TYPE_CHECKING:
    import pyarrow as pa

FACTORS = ("dataset", "strategy", "learner", "draw_seed", "train_seed")
SKIPPED = {"store", "ray", "tensorboard", "predictions", "report"}
# Keys of config.yaml that say where and how a run works, not what it computes.
PLACES = {
    *("out", "store", "threads", "device", "save_predictions", "panels", "sinks"),
    *("data.root",),
}
# Keys in which the runs of one arm may differ.
FREE_KEYS = {"draw_seed", "train_seed", *PLACES}


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder as far as it was finished.

    Attributes:
        record: what run.json holds.
        rounds: what rounds.jsonl holds, one record per finished round.
        config: the text of config.yaml, "" if there is none.
        cases: the rows of cases.jsonl that belong to finished rounds.
        variant: settings, other than factors and seeds, in which this run differs from others of
            the same strategy and learner; "" if it does not. Variants are never averaged.
    """

    path: Path
    record: Mapping[str, Any]
    rounds: tuple[Mapping[str, Any], ...]
    config: str
    cases: pa.Table
    variant: str = ""

    @property
    def key(self) -> str:
        """Content key of the cell."""
        return str(self.record["key"])

    @property
    def factors(self) -> dict[str, Any]:
        """dataset, strategy, learner, draw_seed, train_seed, and the variant."""
        return {name: self.record["factors"][name] for name in FACTORS} | {"variant": self.variant}

    @property
    def finished(self) -> bool:
        """Whether every planned round is there."""
        return len(self.rounds) >= len(self.record["budget"])

    def cpu_seconds(self) -> float:
        """CPU time of all stages that this run computed itself (not found in the store)."""
        lines = read_lines(self.path / "timings.jsonl")
        return float(sum(line.get("cpu_seconds") or 0.0 for line in lines))


@dataclass(frozen=True, kw_only=True)
class Runs:
    """All runs below some folders, and one line about every cell, used or not.

    Attributes:
        cells: rows with cell, folder, the factors, status (done, unfinished, failed, missing,
            unreadable, duplicate), rounds, planned and error.
    """

    runs: tuple[Run, ...]
    cells: tuple[Mapping[str, Any], ...]


def read_runs(folders: Sequence[Path]) -> Runs:
    """Every run below the folders; links are not followed, shared stores not entered.

    Raises:
        ConfigError: a folder does not exist, or there is no run below any of them.
    """
    runs: dict[str, Run] = {}
    cells: list[dict[str, Any]] = []
    for path, ahead in with_cases(_run_folders(folders)):
        try:
            run = _read_run(path, ahead)
        except DataError as error:
            cells.append({"folder": str(path), "status": "unreadable", "error": str(error)})
            continue
        if run.key in runs:
            twin = f"the same cell as {runs[run.key].path}, which is used"
            cells.append(_cell(run) | {"status": "duplicate", "error": twin})
            continue
        runs[run.key] = run
    used, twins = _without_twins(_with_variants(list(runs.values())))
    cells += twins
    told = {row["key"]: row for row in _planned(folders)}
    cells = [*(_cell(run, told.get(run.key)) for run in used), *cells]
    cells += _without_folder(told, {row.get("cell") for row in cells}, {r["folder"] for r in cells})
    if not cells:
        names = ", ".join(str(folder) for folder in folders)
        raise ConfigError(f"{names}: no run.json at or below; name run or study folders")
    return Runs(runs=tuple(used), cells=tuple(cells))


def _run_folders(folders: Sequence[Path]) -> Iterator[Path]:
    seen: set[Path] = set()
    for path in _walk(folders):
        if (path / "run.json").is_file() and path.resolve() not in seen:
            seen.add(path.resolve())
            yield path


def _walk(folders: Sequence[Path]) -> Iterator[Path]:
    """The folders and all below them, in order, not into runs, stores and hidden folders."""
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder; name run or study folders")
        for name, children, files in os.walk(folder):
            yield Path(name)
            deeper = [] if "run.json" in files else sorted(set(children) - SKIPPED)
            children[:] = [child for child in deeper if not child.startswith(".")]


def _read_run(path: Path, ahead: pa.Table | None = None) -> Run:
    """One run folder.

    Raises:
        DataError: a file of it is missing, broken or incomplete.
    """
    file = path / "run.json"
    try:
        record = read_json(file)
        needed = ("key", "factors", "budget", "classes")
        lacking = [name for name in needed if name not in record]
        lacking += [f"factors.{name}" for name in FACTORS if name not in record.get("factors", {})]
        if lacking:
            raise DataError(f"{file}: lacks {', '.join(lacking)}; run the cell again")
        file = path / "rounds.jsonl"
        rounds = {line["round"]: line for line in read_lines(file)}
        file = path / "config.yaml"
        config = file.read_text() if file.is_file() else ""
    except (OSError, json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{file}: cannot be read ({error!r}); run the cell again") from None
    labeled = {number: line["num_labeled"] for number, line in rounds.items()}
    cases = read_cases(path / CASES, labeled, ahead)
    done = tuple(rounds.values())
    return Run(path=path, record=record, rounds=done, config=config, cases=cases)


def _cell(run: Run, told: Mapping[str, Any] | None = None) -> dict[str, Any]:
    failed = (told or {}).get("status") == "failed"
    status = "done" if run.finished else "failed" if failed else "unfinished"
    return {
        "cell": run.key,
        "folder": str(run.path),
        **run.factors,
        "status": status,
        "rounds": len(run.rounds),
        "planned": len(run.record["budget"]),
        "error": (told or {}).get("error") if failed else None,
        "cpu_seconds": run.cpu_seconds(),
    }


def _planned(folders: Sequence[Path]) -> Iterator[dict[str, Any]]:
    """Lines of every study.json, with the folder of the study."""
    for folder in _walk(folders):
        file = folder / "study.json"
        if file.is_file():
            for row in read_json(file).get("cells", []):
                yield row | {"folder": str(folder / row.get("folder", "cells"))}


def _without_folder(
    told: Mapping[str, Mapping[str, Any]], known: set[Any], folders: set[str]
) -> list[dict[str, Any]]:
    """Planned cells that left no usable run behind."""
    lost = [row for key, row in told.items() if key not in known and row["folder"] not in folders]
    return [
        {
            "cell": row["key"],
            "folder": row["folder"],
            **_plain(row.get("factors", {})),
            "status": "failed" if row.get("status") == "failed" else "missing",
            "rounds": 0,
            "error": row.get("error"),
        }
        for row in lost
    ]


def _plain(factors: Mapping[str, Any]) -> dict[str, Any]:
    """Factors of a study file ("strategy.name", {"name": ...}) under the names of run.json."""
    plain = {name.removesuffix(".name"): value for name, value in factors.items()}
    return {
        name: plain[name].get("name") if isinstance(plain[name], dict) else plain[name]
        for name in FACTORS
        if name in plain
    }


def _with_variants(runs: Sequence[Run]) -> list[Run]:
    """Runs whose settings differ beyond factors and seeds get a name for the difference."""
    arms: dict[tuple[Any, ...], list[Run]] = defaultdict(list)
    for run in runs:
        arms[tuple(run.factors[name] for name in FACTORS[:3])].append(run)
    named: dict[str, str] = {}
    for members in arms.values():
        # Parsing YAML is slow, so only arms whose texts differ are looked at closely.
        if len({_fixed_lines(run.config) for run in members}) > 1:
            named |= _differences(members)
    return [replace(run, variant=named.get(run.key, "")) for run in runs]


def _without_twins(runs: Sequence[Run]) -> tuple[list[Run], list[dict[str, Any]]]:
    """One run for each set of factors: two that no setting tells apart are not two seeds."""
    kept: dict[tuple[Any, ...], Run] = {}
    twins = []
    for run in runs:
        first = kept.setdefault(tuple(run.factors.values()), run)
        if first is not run:
            error = f"the same factors as {first.path}, which is used; no setting tells them apart"
            twins.append(_cell(run) | {"status": "duplicate", "error": error})
    return list(kept.values()), twins


def _fixed_lines(config: str) -> tuple[str, ...]:
    return tuple(line for line in config.splitlines() if line.split(":")[0] not in FREE_KEYS)


def _differences(runs: Sequence[Run]) -> dict[str, str]:
    flat = {
        run.key: _with_named(_without_queries(dict(_flatten(_parse(run.config))))) for run in runs
    }
    keys = sorted({key for values in flat.values() for key in values} - FREE_KEYS)
    # A setting that an older version did not know is as one that is not given.
    telling = [k for k in keys if len({values.get(k, "None") for values in flat.values()}) > 1]
    return {
        run: ", ".join(f"{key}={values.get(key)}" for key in telling)
        for run, values in flat.items()
    }


def _without_queries(values: dict[str, str]) -> dict[str, str]:
    """Replayed runs have the queries of their draw seed: these set no variant apart."""
    if not values.get("strategy.of"):
        return values
    drop = ("strategy.order", "strategy.hashes.")
    return {key: value for key, value in values.items() if not key.startswith(drop)}


def _with_named(values: dict[str, str]) -> dict[str, str]:
    """Arm and pretext as one value each, "lora(rank=16)", in place of a key for each setting."""
    for part in ("arm", "pretext"):
        own = {k.removeprefix(f"{part}."): v for k, v in values.items() if k.startswith(f"{part}.")}
        if own:
            rest = ", ".join(f"{k}={v}" for k, v in own.items() if k != "name")
            values = {k: v for k, v in values.items() if not k.startswith(f"{part}.")}
            values[part] = f"{own.get('name')}({rest})" if rest else str(own.get("name"))
    return values


def settings_of(run: Run) -> dict[str, str]:
    """Dotted key -> value of every setting in config.yaml."""
    return settings_of_text(run.config)


def settings_of_text(config: str) -> dict[str, str]:
    """Dotted key -> value of every setting in the text of a config.yaml."""
    return dict(_flatten(_parse(config)))


def parsed_config(run: Run) -> dict[str, Any]:
    """The settings in config.yaml, as they are nested there."""
    found: dict[str, Any] = _parse(run.config)
    return found


def _parse(config: str) -> Any:
    import yaml

    return yaml.load(config, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) or {}


def _flatten(values: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", str(value)
