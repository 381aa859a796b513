"""Ask people: the next units of a run by its strategy, written down once and laid out as a list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loops.adaptation.which import inner_of
from loops.annotation.people import Asked, People, round_score
from loops.cell import budgets, claimed, describe, set_threads
from loops.config import RunConfig, load_run
from loops.outer import check, replay, rng_of
from loops.progress import Progress
from loops.workbench import Workbench
from salearn.budget import Schedule
from salearn.cases import Pool, Selection, UnitId
from salearn.errors import ConfigError

if TYPE_CHECKING:
    from salearn.evidence import Evidence


def open_run(place: Path, progress: Progress | None = None) -> Workbench:
    """The workbench of a run folder, or of a run that a YAML file describes and nobody began.

    Raises:
        ConfigError: neither a run folder nor a YAML file.
    """
    config = place / "config.yaml" if place.is_dir() else place
    if not config.is_file():
        raise ConfigError(
            f"{place}: no run here; give a run folder (it holds config.yaml) or a YAML file"
        )
    loaded = load_run(config)
    if place.is_dir():  # the folder may have moved
        loaded = replace(loaded, out=str(place))
    return Workbench(loaded, progress or Progress())


def query(place: Path, out: Path, n: int | None = None, copy: bool = False) -> dict[str, Any]:
    """Select the next n units of a run and write the worklist to `out`.

    A round is asked once: the same call again gives the same list and changes no mask that lies
    in `out` already.

    Args:
        n: None = as many as the budget of the run names for this round.
        copy: images are copied, not linked.

    Returns:
        {"run", "round", "out", "units", "new": whether the round was asked now}.

    Raises:
        ConfigError: the round was begun by `salearn run`, was asked with another n, or the pool
            is too small.
    """
    bench = open_run(place)
    set_threads(bench.config.threads)
    with claimed(bench.out):
        describe(bench)
        turn = Turn(bench)
        asked = turn.asked
        new = asked is None
        _free(out, turn, asked)
        if asked is None:
            turn.refuse_begun()
            selection = turn.select(turn.count(n))
            asked = turn.people.ask(turn.round, selection, out)
        elif n not in (None, len(asked.units)):
            raise ConfigError(
                f"{bench.out}: round {turn.round} asked for {len(asked.units)} units already, not "
                f"{n}: annotate them, or give up the open ones with `salearn annotate "
                f"{asked.out} --close`"
            )
        _lay_out(turn, asked, out, copy)
    return {
        "run": str(bench.out), "round": asked.round, "out": str(out),
        "units": list(asked.units), "new": new,
    }  # fmt: skip


def _free(out: Path, turn: Turn, asked: Asked | None) -> None:
    """Refuse a folder that holds another list: its masks would pass for those of this one.

    Raises:
        ConfigError: naming its round.
    """
    from loops.annotation.manifest import NAME, Manifest

    if not (out / NAME).exists():
        return
    there = Manifest.read(out)
    same = (turn.bench.config.key, turn.round) == (there.key, there.round)
    if not same or (asked is not None and list(asked.units) != there.units()):
        raise ConfigError(
            f"{out}: holds the list of round {there.round} of {there.run}; name another folder"
        )


def _lay_out(turn: Turn, asked: Asked, out: Path, copy: bool) -> None:
    from loops.annotation.worklist import write_worklist

    write_worklist(turn.bench, asked, turn.evidence(), out, copy)


class Turn:
    """The next round of a run: its pool, its evidence, and what was asked already."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.people = People(bench)
        done = bench.finished_rounds()
        self.round = len(done)
        self.pool = replay(done, bench.whole_pool(), bench.log)
        self.asked = self.people.asked(self.round)
        self._evidence: Evidence | None = None

    def evidence(self) -> Evidence:
        """What the strategy and the starting masks see: models of the round before."""
        if self._evidence is None:
            self._evidence = inner_of(self.bench).evidence(self.pool, self.round)
        return self._evidence

    def count(self, n: int | None) -> int:
        """Units to ask for.

        Raises:
            ConfigError: more than can be asked for, or no number and the budget is spent.
        """
        if n is None:
            n = Schedule.of_totals(budgets(self.bench)).new_units(len(self.pool.labeled))
            if n is None:
                raise ConfigError(
                    f"{self.bench.out}: the budget of the run is spent; say how many more units "
                    "people shall annotate, e.g. --n 5"
                )
        left = len(self.people.askable(self.pool).unlabeled)
        if not 1 <= n <= left:
            raise ConfigError(f"{self.bench.out}: asked for {n} units, but 1 to {left} can be")
        return n

    def select(self, n: int, strategy: str | None = None) -> Selection:
        """What the strategy of the run (or another one, by name) wants next."""
        config = self.bench.config
        if strategy is not None:
            config = _with_strategy(config, strategy)
        pool: Pool = self.people.askable(self.pool)
        rng = rng_of(config.draw_seed, self.round)
        chosen = config.build_strategy(self.bench.patients).select(pool, n, self.evidence(), rng)
        check(chosen, pool, n)
        scores = {UnitId(unit): round_score(score) for unit, score in chosen.scores.items()}
        return Selection(unit_ids=chosen.unit_ids, scores=scores)

    def refuse_begun(self) -> None:
        """Refuse a round whose masks the files have given out already.

        Raises:
            ConfigError: `salearn run` was stopped in this round.
        """
        if begun := self.bench.oracle.annotated(self.round):
            raise ConfigError(
                f"{self.bench.out}: round {self.round} was begun by `salearn run` "
                f"({len(begun)} masks are spent) and not finished; let it finish, then ask people"
            )


def _with_strategy(config: RunConfig, name: str) -> RunConfig:
    same = config.strategy["name"] == name
    return config if same else replace(config, strategy={"name": name})
