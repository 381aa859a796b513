"""The replay arm: queries of one run become the strategy of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from salearn.errors import ConfigError, DataError
from salearn.querylog import read_query_log
from salearn.settings import Field, settings
from salearn.store import read_json


@settings
class ReplaySettings:
    """`study.replay`: one cell for every run below a folder, trained on that run's queries.

    Attributes:
        of: run or study folder whose queries are replayed; "" = no replay arm.
        where: factors of run.json that a run must have, e.g. {learner: sfr_mean_teacher}.
    """

    of: str = ""
    where: dict[str, Any] = Field(default_factory=dict)


def with_order(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a run in which `strategy: {name: replay, log: ...}` holds the order itself.

    So a run describes itself, whatever becomes of the log, and its key is that of the queries.

    Raises:
        ConfigError: the log cannot be read.
    """
    strategy = values.get("strategy")
    if not isinstance(strategy, Mapping) or strategy.get("name") != "replay":
        return dict(values)
    if "log" not in strategy:
        return dict(values)
    try:
        log = read_query_log(Path(str(strategy["log"])))
    except DataError as error:
        raise ConfigError(f"strategy.log: {error}") from None
    read = {
        "order": list(log.units),
        "of": str(log.head["strategy"]),
        "hashes": dict(log.head["hashes"]),
    }
    rest = {key: value for key, value in strategy.items() if key != "log"}
    return dict(values) | {"strategy": read | rest}


def replayed(settings: ReplaySettings) -> Iterator[dict[str, Any]]:
    """Factors strategy, draw_seed and train_seed of each run that is replayed, sorted by folder.

    Raises:
        ConfigError: no run below the folder fits.
    """
    found = False
    for path in sorted(Path(settings.of).rglob("run.json")):
        factors = read_json(path)["factors"]
        if all(factors.get(key) == value for key, value in settings.where.items()):
            found = True
            yield {
                "strategy": {"name": "replay", "log": str(path.parent)},
                "draw_seed": factors["draw_seed"],
                "train_seed": factors["train_seed"],
            }
    if not found:
        raise ConfigError(
            f"study.replay: no run below {settings.of} has {settings.where or 'any factors'}; "
            "name a folder of finished runs"
        )


def refuse_other_split(hashes: Mapping[str, Any], split: Mapping[str, Any]) -> None:
    """Refuse queries that were made for another pool or test set.

    Args:
        split: the record in split.json.

    Raises:
        ConfigError: naming the part that differs.
    """
    for part in ("pool", "test"):
        mine, theirs = split["parts"][part]["sha256"], hashes.get(part)
        if theirs is not None and mine != theirs:
            raise ConfigError(
                f"strategy.hashes.{part}: the queries were made for another {part} (SHA-256 "
                f"{theirs[:12]}, here {mine[:12]}); use the data.split of that run, or replay the "
                "units alone with strategy.order"
            )
