"""What an annotation server asks of a run: the next image, and a first mask of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loops.annotation.people import People, round_score
from loops.annotation.query import Turn, open_run
from loops.cell import claimed, describe, set_threads
from loops.measuring.predict import predict_files
from loops.progress import Progress
from loops.workbench import Workbench
from salearn.cases import parse_unit
from salearn.data.source import stem
from salearn.store import read_json, read_lines, write_json

WORKLIST = "worklist"  # the name that stands for the list people were asked for
NEEDS_MASKS = ("oracle", "replay")  # words in names of strategies that no clinic can use
MOST = 100  # units ordered at once


def strategy_names(run: Path) -> list[str]:
    """The worklist, the strategy of the run, and all others that need no mask to choose."""
    from strategies.registry import STRATEGIES

    own = str(open_run(run, Progress(enabled=False)).config.strategy["name"])
    others = [n for n in STRATEGIES.available() if not any(word in n for word in NEEDS_MASKS)]
    return list(dict.fromkeys([WORKLIST, own, *others]))


class NextImages:
    """The images of a run in the order of a strategy; an order is computed once per round.

    Args:
        cache: folder where orders are kept, one JSON file per round and strategy.
    """

    def __init__(self, run: Path, cache: Path) -> None:
        self._run = run
        self._cache = cache

    def next(self, strategy: str, unlabeled: Sequence[str]) -> dict[str, Any] | None:
        """{"id", "unit", "score", "round"} of the most wanted image; None if no wanted one is left.

        Args:
            unlabeled: image ids (file names without ending) that have no mask yet.
        """
        waiting = set(unlabeled)
        return next((row for row in self.order(strategy) if row["id"] in waiting), None)

    def order(self, strategy: str) -> list[dict[str, Any]]:
        """All images that are wanted, the most wanted first.

        Raises:
            ConfigError: unknown strategy, or the run is busy.
        """
        round = len(read_lines(self._run / "rounds.jsonl"))
        if strategy == WORKLIST:
            return self._asked(round)
        file = self._cache / f"{strategy}_round_{round:03d}.json"
        if not file.exists():
            write_json(file, self._ordered(strategy))
        rows: list[dict[str, Any]] = read_json(file)
        return rows

    def _asked(self, round: int) -> list[dict[str, Any]]:
        """The units of the list that is out now and not returned yet."""
        bench = open_run(self._run, Progress(enabled=False))
        people = People(bench)
        asked = people.asked(round)
        if asked is None:
            return []
        return [_row(bench, unit, asked.scores.get(unit), round) for unit in people.open(asked)]

    def _ordered(self, strategy: str) -> list[dict[str, Any]]:
        bench = open_run(self._run)
        set_threads(bench.config.threads)
        with claimed(bench.out):
            describe(bench)
            turn = Turn(bench)
            n = min(MOST, len(turn.people.askable(turn.pool).unlabeled))
            chosen = turn.select(n, strategy)
        return [_row(bench, unit, chosen.scores.get(unit), turn.round) for unit in chosen.unit_ids]


def _row(bench: Workbench, unit: Any, score: float | None, round: int) -> dict[str, Any]:
    case = bench.cases[parse_unit(unit)[0]]
    return {
        "id": stem(case.images[0]),
        "unit": unit,
        "score": None if score is None else round_score(score),
        "round": round,
    }


def classes_of(run: Path) -> dict[str, int]:
    """Class names of a run and their values in mask files."""
    classes: dict[str, int] = read_json(run / "split.json")["classes"]
    return classes


def segment(run: Path, image: Path, folder: Path) -> Path:
    """The student's labels of an image, on its grid; the file lies in `folder`.

    Raises:
        ConfigError: nothing is trained yet.
    """
    return predict_files(run, [image], folder)[0]
