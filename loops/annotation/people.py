"""Who was asked what: worklists.jsonl of a run folder, read and appended here only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from loops.workbench import Workbench
from salearn.cases import Pool, Selection, UnitId, parse_unit
from salearn.errors import WaitingError
from salearn.store import append_line, read_lines

FILE = "worklists.jsonl"
SHOWN = 5  # units named in a message


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One round that people were asked in.

    Attributes:
        units: in the order of the strategy, which is the order of the list.
        scores: of every candidate, as in the record of a simulated round.
        out: the folder of the list.
        closed: the round goes on without the units that are still open.
    """

    round: int
    units: tuple[UnitId, ...]
    scores: Mapping[UnitId, float]
    out: str
    closed: bool = False


class People:
    """The rounds that people were asked in, and what they have returned so far."""

    def __init__(self, bench: Workbench) -> None:
        self._bench = bench
        self._log = bench.out / FILE

    def asked(self, round: int) -> Asked | None:
        """The worklist of a round, or None."""
        found: Asked | None = None
        for line in read_lines(self._log):
            if line["round"] != round:
                continue
            if line["event"] == "asked":
                found = _asked(line)
            elif line["event"] == "withdrawn":
                found = None
            elif line["event"] == "closed" and found is not None:
                found = replace(found, closed=True)
        return found

    def ask(self, round: int, selection: Selection, out: Path) -> Asked:
        """Write down that people are asked; a round is asked once."""
        scores = {unit: round_score(score) for unit, score in selection.scores.items()}
        units = list(selection.unit_ids)
        line = {"event": "asked", "round": round, "units": units, "scores": scores}
        append_line(self._log, line | {"out": str(out.resolve())})
        asked = self.asked(round)
        assert asked is not None
        return asked

    def refuse(self, round: int, findings: Sequence[Mapping[str, Any]]) -> None:
        """Write down what was wrong with returned masks; the same finding once."""
        known = read_lines(self._log)
        for finding in findings:
            line = {"event": "refused", "round": round, **finding}
            if line not in known:
                append_line(self._log, line)

    def close(self, asked: Asked) -> Asked:
        """Give up what was not returned: these units are unlabeled again.

        Where nothing was returned the list is withdrawn: the round can be asked anew.
        """
        event = "closed" if self.returned(asked) else "withdrawn"
        line = {"event": event, "round": asked.round, "units": self.open(asked)}
        append_line(self._log, line)
        return replace(asked, closed=True)

    def returned(self, asked: Asked) -> list[UnitId]:
        """Units of a list that are annotated, in the order of the list."""
        known = self._bench.oracle.annotated(asked.round)
        return [unit for unit in asked.units if unit in known]

    def open(self, asked: Asked) -> list[UnitId]:
        """Units of a list that nobody has annotated yet; none once it is closed."""
        known = set(self.returned(asked))
        return [] if asked.closed else [unit for unit in asked.units if unit not in known]

    def answered(self, round: int) -> Selection | None:
        """What people annotated in this round; None if nobody was asked.

        Raises:
            WaitingError: units are open.
        """
        asked = self.asked(round)
        if asked is None:
            return None
        waiting = self.open(asked)
        if waiting:
            raise WaitingError(
                f"{self._bench.out}: round {round} waits for {len(waiting)} of "
                f"{len(asked.units)} masks ({named(waiting)}); return them in {asked.out} and run "
                f"`salearn annotate {asked.out}`, or go on without them: add --close to it"
            )
        return Selection(unit_ids=tuple(self.returned(asked)), scores=asked.scores)

    def on_file(self, pool: Pool) -> Pool:
        """The pool without the unlabeled units that have no mask file.

        Raises:
            WaitingError: none has a mask file.
        """
        units = tuple(unit for unit in pool.unlabeled if self._has_file(unit))
        if not units and pool.unlabeled:
            raise WaitingError(
                f"{self._bench.out}: the next round needs people, for no case that could be "
                f"annotated has a mask file; run `salearn query {self._bench.out} --n 5 "
                "--out worklist`"
            )
        return Pool(labeled=pool.labeled, unlabeled=units)

    def askable(self, pool: Pool) -> Pool:
        """What people are asked about: units without a mask file, or all where every one has one.

        The second is a rehearsal: their masks are taken, the files are not opened.
        """
        units = tuple(unit for unit in pool.unlabeled if not self._has_file(unit))
        return Pool(labeled=pool.labeled, unlabeled=units or pool.unlabeled)

    def _has_file(self, unit: UnitId) -> bool:
        return parse_unit(unit)[0] in self._bench.dataset.masks


def _asked(line: Mapping[str, Any]) -> Asked:
    return Asked(
        round=line["round"],
        units=tuple(UnitId(unit) for unit in line["units"]),
        scores={UnitId(unit): score for unit, score in line["scores"].items()},
        out=line["out"],
    )


def round_score(score: float) -> float:
    """A score as records hold it."""
    return round(float(score), 9)


def named(units: Sequence[UnitId]) -> str:
    """The first few units for a message."""
    more = f" and {len(units) - SHOWN} more" if len(units) > SHOWN else ""
    return ", ".join(units[:SHOWN]) + more
