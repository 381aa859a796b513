"""Guard rails of the simulation, checked again from the logs of the runs."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from salearn.report.blocks import Table
from salearn.report.runs import Run, settings_of
from salearn.stats.bootstrap import ENOUGH_SEEDS
from salearn.store import read_lines

LEVELS = ("error", "warning", "ok")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one guard says about some runs.

    Attributes:
        level: "error" (the numbers must not be used), "warning" (they mean less), "ok".
        runs: how many runs it is about.
    """

    guard: str
    level: str
    words: str
    runs: int = 1


def findings(runs: Sequence[Run]) -> list[Finding]:
    """All guards over all runs, worst first; equal findings are counted together."""
    single = [found for run in runs for found in (*_recorded(run), *_logged(run))]
    counted: dict[tuple[str, str, str], int] = defaultdict(int)
    for found in single:
        counted[found.guard, found.level, found.words] += found.runs
    every = [
        Finding(guard=guard, level=level, words=words, runs=count)
        for (guard, level, words), count in counted.items()
    ]
    every += [*_starts(runs), *_design(runs)]
    return sorted(every, key=lambda found: (LEVELS.index(found.level), found.guard))


def _recorded(run: Run) -> Iterator[Finding]:
    """What the run itself wrote down at its start."""
    for row in run.record.get("guards") or ():
        yield Finding(guard=row["guard"], level=row["level"], words=row["words"])


def _logged(run: Run) -> Iterator[Finding]:
    yield _again(run)
    yield _sizes(run)
    yield _finite(run)
    yield _spent(run)


def _verdict(guard: str, run: Run, problem: str, fine: str) -> Finding:
    if problem:
        return Finding(guard=guard, level="error", words=f"{run.path.name}: {problem}")
    return Finding(guard=guard, level="ok", words=fine)


def _again(run: Run) -> Finding:
    asked: dict[str, int] = {}
    problem = ""
    for record in run.rounds:
        for unit in record.get("selected", ()):
            if unit in asked:
                problem = f"{unit} is asked for in rounds {asked[unit]} and {record['round']}"
            asked[unit] = int(record["round"])
    return _verdict("no unit twice", run, problem, "no unit is asked for twice")


def _sizes(run: Run) -> Finding:
    """|picks| = planned, or the pool is used up; a bound in seconds may end a round early."""
    budget = [0, *run.record["budget"]]
    planned = [b - a for a, b in pairwise(budget)]
    problem, early = "", 0
    for record, count in zip(run.rounds, planned, strict=False):
        taken, there = len(record.get("selected", ())), len(record.get("scores") or ())
        if taken < min(count, there) and taken > 0:
            early += 1
        elif taken != count and taken != there:
            problem = f"round {record['round']}: {taken} units, {count} were planned"
    if early and "strategy.limits.seconds" not in settings_of(run):
        problem = f"{early} rounds have fewer units than planned"
    if early and not problem:
        words = "rounds end early where their declared seconds are spent"
        return Finding(guard="batch size", level="warning", words=words)
    return _verdict("batch size", run, problem, "every round has as many units as planned")


def _finite(run: Run) -> Finding:
    bad = [
        str(record["round"])
        for record in run.rounds
        if any(s is None or not math.isfinite(s) for s in (record.get("scores") or {}).values())
    ]
    problem = f"scores that are no numbers in rounds {', '.join(bad)}" if bad else ""
    return _verdict("scores", run, problem, "all scores are finite")


def _spent(run: Run) -> Finding:
    """The query log is the budget: what was opened for training is what was asked for."""
    fine = "masks were opened for exactly the units that were asked for"
    opened = _opened(run.path / "queries.jsonl", {int(r["round"]) for r in run.rounds})
    if opened is None:
        return Finding(guard="query log", level="warning", words="no queries.jsonl to check")
    asked = {unit for record in run.rounds for unit in record.get("selected", ())}
    strange = sorted(opened ^ asked)
    problem = f"opened or asked for, not both: {', '.join(strange[:3])}" if strange else ""
    return _verdict("query log", run, problem, fine)


def _opened(path: Path, rounds: set[int]) -> set[str] | None:
    if not path.is_file():
        return None
    lines = read_lines(path)
    return {str(x["unit"]) for x in lines if x["purpose"] == "annotate" and x["round"] in rounds}


def _starts(runs: Sequence[Run]) -> Iterator[Finding]:
    """Runs with a shared start set and one draw seed begin with the same units."""
    sets: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    count = 0
    for run in runs:
        units = settings_of(run).get("start.units", "0")
        if units not in ("0", "None") and run.rounds:
            count += 1
            place = (str(run.factors["dataset"]), str(run.factors["draw_seed"]), units)
            sets[place].add(tuple(run.rounds[0].get("selected", ())))
    torn = [place for place, found in sets.items() if len(found) > 1]
    if torn:
        words = f"draw seeds {', '.join(sorted({p[1] for p in torn}))}: start sets differ"
        yield Finding(guard="shared start", level="error", words=words, runs=count)
    elif count:
        words = "strategies of one draw seed begin with the same units"
        yield Finding(guard="shared start", level="ok", words=words, runs=count)


def _design(runs: Sequence[Run]) -> Iterator[Finding]:
    """What a study of strategies should hold, and this one does not."""
    if not runs:
        return
    values = [settings_of(run) for run in runs]
    strategies = {str(run.factors["strategy"]) for run in runs}
    seeds = {(run.factors["draw_seed"], run.factors["train_seed"]) for run in runs}
    lacking = []
    if "random" not in strategies:
        lacking.append("no random arm: the bar for every strategy")
    if len(seeds) < ENOUGH_SEEDS:
        lacking.append(f"{len(seeds)} seeds; {ENOUGH_SEEDS} or more for a claim")
    if len({v.get("student.iterations") for v in values}) < 2:
        lacking.append("no check with longer training (student.iterations)")
    if len({v.get("query_size") for v in values}) < 2:
        lacking.append("one query size; query_size 0.5 and 2 show how much it matters")
    for words in lacking:
        yield Finding(guard="design", level="warning", words=words, runs=len(runs))


def guard_cells(runs: Sequence[Run], name: str) -> Table:
    """The guards as a table."""
    rows = [[f.guard, f.level, f.words, str(f.runs)] for f in findings(runs)]
    return Table(
        name=name,
        caption="Guard rails, checked from settings and logs",
        headers=["guard", "level", "what was found", "runs"],
        rows=rows,
        fixed=3,
    )
