"""The active loop: select, annotate, train, measure, record. The log is the state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from salearn.budget import Schedule
from salearn.cases import Pool, Selection, UnitId
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.store import append_line, read_lines
from strategies.registry import Strategy

RoundRecord = dict[str, Any]


@runtime_checkable
class Annotator(Protocol):
    """Who draws masks: a file reader in a simulation, a person in a clinic."""

    def annotate(self, units: Sequence[UnitId], round: int) -> None:
        """Make the masks of these units known; what was known stays free of charge."""
        ...

    def spent(self, until_round: int | None = None) -> dict[str, float]:
        """The budget spent until the end of a round."""
        ...


@runtime_checkable
class InnerLoop(Protocol):
    """Trains on the labeled part of a pool, and says what it learnt."""

    def evidence(self, pool: Pool, round: int) -> Evidence:
        """What may be looked at before round `round` selects; round 0 knows no model."""
        ...

    def train(self, pool: Pool, round: int) -> dict[str, Any]:
        """Train and measure; fields for the record. What is already done is not done again."""
        ...


@runtime_checkable
class Rounds(Protocol):
    """Where the masks of a round come from: files, or people who were asked."""

    def answered(self, round: int) -> Selection | None:
        """What people annotated in this round; None if nobody was asked.

        Raises:
            WaitingError: people were asked and have not returned everything.
        """
        ...

    def on_file(self, pool: Pool) -> Pool:
        """The pool without the unlabeled units that only people can annotate.

        Raises:
            WaitingError: files can annotate nothing at all.
        """
        ...


class FilesOnly:
    """Rounds of a pure simulation: every unit of the pool has a mask file."""

    def answered(self, round: int) -> Selection | None:
        """Nobody was asked."""
        return None

    def on_file(self, pool: Pool) -> Pool:
        """The whole pool."""
        return pool


def run(
    *,
    strategy: Strategy,
    inner: InnerLoop,
    oracle: Annotator,
    pool: Pool,
    schedule: Schedule,
    log: Path,
    seed: int,
    rounds: Rounds | None = None,
) -> Iterator[RoundRecord]:
    """Yield one record per round; rounds that the log holds are yielded without training.

    The randomness of round k comes from `default_rng([seed, k])`, so it does not depend on what
    ran before: a run that was cut and started again equals an uncut one. A round that people were
    asked in takes what they returned; the schedule goes on from the units annotated then.

    Raises:
        ConfigError: the budget is larger than the pool, or the log is of another pool.
        WaitingError: the next round needs masks of people.
    """
    rounds = rounds or FilesOnly()
    done = read_lines(log)
    for k in count():
        if k < len(done):
            pool = replay(done[k : k + 1], pool, log)
            yield done[k]
            continue
        selection = rounds.answered(k)
        if selection is None:
            selection = choose(strategy, rounds, schedule, pool, inner.evidence, k, seed)
            if selection is None:
                return
            oracle.annotate(selection.unit_ids, k)
        pool = pool.after(selection.unit_ids)
        record = _record(k, selection, pool, oracle) | inner.train(pool, k)
        append_line(log, record)
        yield record


def choose(
    strategy: Strategy,
    rounds: Rounds,
    schedule: Schedule,
    pool: Pool,
    evidence: Callable[[Pool, int], Evidence],
    k: int,
    seed: int,
) -> Selection | None:
    """What the strategy asks for in round k; None once the schedule has come to its end.

    Raises:
        ConfigError: the budget is larger than the pool.
    """
    n = schedule.new_units(len(pool.labeled))
    if n is None:
        return None
    on_file = rounds.on_file(pool)
    _affordable(schedule.total - len(pool.labeled), on_file)
    selection = strategy.select(on_file, n, evidence(pool, k), rng_of(seed, k))
    check(selection, on_file, n)
    return selection


def rng_of(seed: int, round: int) -> np.random.Generator:
    """The randomness of one round, whoever annotates it."""
    return np.random.default_rng([seed, round])


def check(selection: Selection, pool: Pool, n: int) -> None:
    """Guard rails of every round: n distinct unlabeled units, finite scores.

    Raises:
        ValueError: the strategy broke its contract.
    """
    chosen = selection.unit_ids
    if len(chosen) != n or len(set(chosen)) != n or not set(chosen) <= set(pool.unlabeled):
        raise ValueError(f"the strategy did not answer {n} distinct unlabeled units: {chosen}")
    if not np.isfinite(list(selection.scores.values())).all():
        raise ValueError("the strategy answered scores that are not finite")


def replay(done: Sequence[RoundRecord], pool: Pool, log: Path) -> Pool:
    """The pool after finished rounds.

    Raises:
        ConfigError: the log is of another pool.
    """
    for record in done:
        pool = pool.after(_replayed(record, pool, log))
    return pool


def _affordable(wanted: int, pool: Pool) -> None:
    if wanted > len(pool.unlabeled):
        raise ConfigError(
            f"budget: {wanted} annotated units are asked for, but only "
            f"{len(pool.unlabeled)} units of the pool can be annotated; lower `budget` or the "
            "test and validation shares of `data.split`, or ask people (`salearn query`)"
        )


def _record(k: int, selection: Selection, pool: Pool, oracle: Annotator) -> RoundRecord:
    return {
        "round": k,
        "num_labeled": len(pool.labeled),
        "selected": list(selection.unit_ids),
        "scores": {unit: round(float(score), 9) for unit, score in selection.scores.items()},
        "cost": oracle.spent(until_round=k),
    }


def _replayed(record: RoundRecord, pool: Pool, log: Path) -> tuple[UnitId, ...]:
    chosen = tuple(UnitId(unit) for unit in record["selected"])
    strangers = set(chosen) - set(pool.unlabeled)
    if strangers:
        raise ConfigError(
            f"{log}: round {record['round']} selected {sorted(strangers)[:3]}, which this pool "
            "does not hold; the folder belongs to other data or another split: use another `out`"
        )
    return chosen
