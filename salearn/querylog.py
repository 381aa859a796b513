"""The portable query log: who asked for which units in which order, as JSON lines.

Line 1 is the head: {"format": "salearn-query-log", "version": 1, "dataset", "unit", "classes",
"budget", "strategy", "learner", "draw_seed", "train_seed", "run", "hashes": {"split", "pool",
"test", "candidates"}}. Then one line a chosen unit, in order of choice: {"round", "order", "unit",
"score", "slices", "voxels", "seconds"}; then, if wanted, one line a round with the score of every
candidate: {"round", "scores": {unit: score}}. What a source does not know is null; a reader ignores
keys that it does not know. Hashes: split = cases, images, classes and parts together; pool, test =
SHA-256 of the sorted case ids, one a line; candidates = content key of the sorted unit ids of
round 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from salearn.errors import DataError
from salearn.store import content_key, finite, read_json, read_lines, write_lines

FORMAT, VERSION = "salearn-query-log", 1
HEAD = ("dataset", "unit", "classes", "budget", "strategy", "learner", "draw_seed", "train_seed",
        "run", "hashes")  # fmt: skip
HASHES = ("split", "pool", "test", "candidates")
QUERY = ("round", "order", "unit", "score", "slices", "voxels", "seconds")


@dataclass(frozen=True, kw_only=True)
class QueryLog:
    """The queries of one run.

    Attributes:
        head: the fields of HEAD.
        queries: one mapping with the fields of QUERY for each chosen unit, in order of choice.
        scores: round -> score of every candidate; empty if they were not kept.
    """

    head: Mapping[str, Any]
    queries: tuple[Mapping[str, Any], ...]
    scores: Mapping[int, Mapping[str, float | None]] = field(default_factory=dict)

    @property
    def units(self) -> tuple[str, ...]:
        """All chosen units, first wanted first."""
        return tuple(str(query["unit"]) for query in self.queries)


def export_run(folder: Path, scores: bool = False) -> QueryLog:
    """The query log of a run folder, as far as the run was finished.

    Args:
        scores: keep the score of every candidate in every round.

    Raises:
        DataError: the folder holds no finished round of a run.
    """
    if not (folder / "run.json").is_file():
        raise DataError(f"{folder}: no run here (run.json is missing); name a run folder")
    record = read_json(folder / "run.json")
    rounds = read_lines(folder / "rounds.jsonl")
    if not rounds:
        raise DataError(f"{folder}: no round of this run is finished, so nothing was asked for yet")
    paid = {
        line["unit"]: line
        for line in read_lines(folder / "queries.jsonl")
        if line["purpose"] == "annotate"
    }
    return QueryLog(
        head=_head(folder, record, rounds),
        queries=tuple(_queries(rounds, paid)),
        scores={line["round"]: line.get("scores") or {} for line in rounds} if scores else {},
    )


def _head(folder: Path, record: Mapping[str, Any], rounds: list[Any]) -> dict[str, Any]:
    file = folder / "split.json"
    split = read_json(file) if file.is_file() else {}
    parts = split.get("parts") or {}
    candidates = sorted(rounds[0].get("scores") or {})
    factors = record["factors"]
    return {
        "dataset": factors["dataset"],
        "unit": record.get("unit", "volume"),
        "classes": record["classes"],
        "budget": record["budget"],
        **{key: factors[key] for key in ("strategy", "learner", "draw_seed", "train_seed")},
        "run": record["key"],
        "hashes": {
            "split": split.get("hash"),
            "pool": (parts.get("pool") or {}).get("sha256"),
            "test": (parts.get("test") or {}).get("sha256"),
            "candidates": content_key("candidates", candidates) if candidates else None,
        },
    }


def _queries(rounds: list[Any], paid: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for line in rounds:
        scores = line.get("scores") or {}
        for order, unit in enumerate(line["selected"]):
            cost = {key: paid.get(unit, {}).get(key) for key in QUERY[4:]}
            place = {"round": line["round"], "order": order, "unit": unit}
            yield place | {"score": scores.get(unit)} | cost


def write_query_log(log: QueryLog, path: Path) -> None:
    """Write a log as JSON lines, in one step."""
    head = {"format": FORMAT, "version": VERSION, **log.head}
    scores = [{"round": k, "scores": dict(v)} for k, v in sorted(log.scores.items())]
    write_lines(path, (finite(line) for line in [head, *log.queries, *scores]))


def read_query_log(path: Path) -> QueryLog:
    """A log from a file, or from a run folder.

    Raises:
        DataError: no such file, another format or version, a line that lacks something, a unit
            that is asked for twice, or rounds that go back; the message names file and line.
    """
    if path.is_dir():
        return export_run(path)
    if not path.is_file():
        raise DataError(f"{path}: no such query log; write one with `salearn querylog RUN --out`")
    lines = list(_lines(path))
    head = _checked_head(path, lines[0] if lines else {})
    queries = [line for line in lines[1:] if "unit" in line]
    _check_queries(path, lines[1:])
    return QueryLog(
        head=head,
        queries=tuple({key: line.get(key) for key in QUERY} for line in queries),
        scores={line["round"]: line["scores"] for line in lines[1:] if "scores" in line},
    )


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}, line {number}: not JSON ({error})") from None
        if not isinstance(line, dict):
            raise DataError(f"{path}, line {number}: expected an object, got {text[:40]}")
        yield line


def _checked_head(path: Path, line: Mapping[str, Any]) -> dict[str, Any]:
    if line.get("format") != FORMAT or line.get("version") != VERSION:
        found = f"format {line.get('format')!r}, version {line.get('version')!r}"
        raise DataError(f"{path}, line 1: expected {FORMAT} version {VERSION}, got {found}")
    lacking = [key for key in HEAD if key not in line]
    lacking += [f"hashes.{key}" for key in HASHES if key not in (line.get("hashes") or {})]
    if lacking:
        raise DataError(f"{path}, line 1: lacks {', '.join(lacking)} (null if unknown)")
    return {key: line[key] for key in HEAD}


def _check_queries(path: Path, lines: list[dict[str, Any]]) -> None:
    seen: set[str] = set()
    last = 0
    for number, line in enumerate(lines, start=2):
        if "round" not in line or not ("unit" in line or "scores" in line):
            raise DataError(f"{path}, line {number}: neither a query nor the scores of a round")
        if "scores" in line:
            continue
        if line["unit"] in seen or line["round"] < last:
            raise DataError(
                f"{path}, line {number}: unit {line['unit']} is asked for twice, or round "
                f"{line['round']} stands after round {last}; a log is in order of choice"
            )
        seen.add(line["unit"])
        last = line["round"]
