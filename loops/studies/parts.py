"""Budgets of one cell side by side, where no round depends on what another one trained.

Which rounds depend is not declared but found: the strategy is asked for all of its rounds with
evidence that shows nothing. If it never looks (random, replay, any plug-in), every round can be
trained at once. Each part fills the store; the part that ends last runs the cell as always, which
finds every result by its key. So keys, rounds and logs are those of the run in sequence.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from loops.progress import Progress
from loops.studies.study import Cell, Study, run_config
from salearn.cases import Pool, UnitId
from salearn.claims import Claims
from salearn.errors import WaitingError
from salearn.evidence import Evidence
from salearn.store import append_line, read_lines

if TYPE_CHECKING:
    from loops.config import RunConfig

FOLDER = "parts"
GATHERED = ("trainings.jsonl", "timings.jsonl", "costs.jsonl")


class DependsError(AttributeError):
    """A round cannot be chosen before an earlier one is trained."""


class Blind(Evidence):
    """Evidence that shows the number of the round and the extent of units, and no model."""

    def __init__(self, round: int, extent: Callable[[UnitId], tuple[int, int, int]]) -> None:
        self.round = round
        self.extent = extent  # type: ignore[assignment,method-assign]

    def __getattribute__(self, name: str) -> Any:
        if name in ("round", "extent") or name.startswith("_"):
            return object.__getattribute__(self, name)
        raise DependsError(f"it looks at evidence.{name}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A cell, or one round of it.

    Attributes:
        units: of every round up to this one; empty for a whole cell.
    """

    cell: Cell
    round: int | None = None
    units: tuple[tuple[UnitId, ...], ...] = ()

    @property
    def name(self) -> str:
        """Key of the cell, with ":" and the round where it is a part."""
        return self.cell.key if self.round is None else f"{self.cell.key}:{self.round}"


def jobs_of(study: Study, cells: Sequence[Cell], say: Callable[[str], None]) -> list[Job]:
    """The cells, those with independent rounds in parts if `study.parallel_budgets` is set."""
    if not study.settings.parallel_budgets:
        return [Job(cell=cell) for cell in cells]
    told: set[str] = set()
    jobs: list[Job] = []
    for cell in cells:
        found, why = _split(cell, study.settings.stale)
        jobs += found
        if why and why not in told:
            told.add(why)
            say(f"parallel_budgets: {why}: its budgets run in sequence")
    return jobs


def _split(cell: Cell, stale: float) -> tuple[list[Job], str]:
    """Jobs of one cell, and why it is not in parts."""
    whole = [Job(cell=cell)]
    rounds = range(cell.rounds_done, cell.num_rounds)
    if len(rounds) < 2:
        return whole, ""
    config = run_config(cell)
    if config.alone and config.adaptation.choose_rate == "first":
        return whole, "learner sam: later rounds keep the learning rate of the first"
    try:
        units = nested(config)
    except (DependsError, WaitingError) as error:
        return whole, f"strategy {config.strategy_name}: {error}"
    except Exception:  # the cell itself will fail, and say why
        return whole, ""
    states = part_states(cell.out, cell.num_rounds, stale)
    jobs = [Job(cell=cell, round=k, units=units[: k + 1]) for k in rounds if states[k] != "done"]
    return jobs or whole, ""


def nested(config: RunConfig) -> tuple[tuple[UnitId, ...], ...]:
    """The units of every round of a run, chosen before anything is trained.

    Raises:
        DependsError: the strategy looks at a model, or people choose.
    """
    from loops.annotation.people import People
    from loops.cell import budgets
    from loops.look import RoundEvidence
    from loops.outer import choose
    from loops.workbench import Workbench
    from salearn.budget import Schedule

    bench = Workbench(config, Progress(enabled=False))
    strategy, people = config.build_strategy(bench.patients), People(bench)
    schedule, pool = Schedule.of_totals(budgets(bench)), bench.whole_pool()
    extent = RoundEvidence(bench, 0).extent

    def blind(pool: Pool, round: int) -> Evidence:
        return cast(Any, Blind)(round, extent)  # type: ignore[no-any-return]

    found: list[tuple[UnitId, ...]] = []
    for k in count():
        if people.asked(k) is not None:
            raise DependsError("people were asked")
        chosen = choose(strategy, people, schedule, pool, blind, k, config.draw_seed)
        if chosen is None:
            return tuple(found)
        found.append(tuple(chosen.unit_ids))
        pool = pool.after(chosen.unit_ids)
    raise AssertionError


def train_round(job: Job, progress: Progress) -> None:
    """Train and measure one round into the store, in a folder of its own."""
    from loops.adaptation.which import inner_of
    from loops.cell import set_threads
    from loops.workbench import Workbench

    assert job.round is not None
    config = run_config(job.cell)
    set_threads(config.threads)
    out = job.cell.out / FOLDER / _part(job.round)
    own: dict[str, Any] = {
        "out": str(out),
        "store": str(config.store_path),
        "save_predictions": False,
    }
    bench = Workbench(replace(config, **own), progress)
    pool = bench.whole_pool()
    for k, units in enumerate(job.units):
        bench.oracle.annotate(units, k)
        pool = pool.after(units)
    inner_of(bench).train(pool, job.round)


def claims_of(out: Path, stale: float) -> Claims:
    """Who is at which part of the cell in a folder."""
    return Claims(out / FOLDER / "ledger", stale)


def part_states(out: Path, num_rounds: int, stale: float) -> list[str]:
    """State of each part: "done", "failed", "running", "" (nobody began it), ..."""
    claims = claims_of(out, stale)
    return [(claims.last(_part(k)) or {"state": ""})["state"] for k in range(num_rounds)]


def take_part(job: Job, stale: float, told: dict[str, Any]) -> Any:
    """The claim on a part; None while another process is at it."""
    assert job.round is not None
    return claims_of(job.cell.out, stale).take(_part(job.round), told)


def all_ended(cell: Cell, stale: float) -> bool:
    """Whether no part of a cell is still to come or under way."""
    states = part_states(cell.out, cell.num_rounds, stale)
    return all(state in ("done", "failed") for state in states[cell.rounds_done :])


def gather(out: Path) -> None:
    """What the parts trained and how long they took, into the logs of the cell."""
    for folder in sorted((out / FOLDER).glob("round_*")):
        for name in GATHERED:
            known = read_lines(out / name)
            for line in _new(read_lines(folder / name), known):
                append_line(out / name, line)


def forget(out: Path) -> None:
    """Remove the folders of the parts; all that counts is in the cell and in the store."""
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _new(lines: Sequence[Any], known: Sequence[Any]) -> Iterator[Any]:
    return (line for line in lines if line not in known)


def _part(round: int) -> str:
    return f"round_{round:03d}"
