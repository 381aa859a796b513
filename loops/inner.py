"""The inner loop: SFR, SFR+ or the bare host on the labeled part of a pool, measured by stage."""

from __future__ import annotations

from typing import Any

from loops.look import RoundEvidence
from loops.measuring.measure import measure
from loops.sfr.audit import audit
from loops.sfr.given import Given
from loops.sfr.plus import turns_of
from loops.sfr.stages import Stages
from loops.sfr.turn import Turn, bare_turn, first_turn, summary
from loops.workbench import Workbench
from salearn.cases import Pool
from salearn.evidence import Evidence
from salearn.segmenter import Segmenter
from salearn.store import read_json


class Inner:
    """Trains a student on the labeled part of a pool, with or without SFR, and measures it."""

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.config = bench.config
        self.stages = Stages(bench)

    def evidence(self, pool: Pool, round: int) -> Evidence:
        """Embeddings always; predictions and the adapted encoder from round 1 on."""
        if round == 0:
            return RoundEvidence(self.bench, round)
        last = self._turns(pool, round - 1)[-1]
        return RoundEvidence(
            self.bench,
            round,
            segmenter=self.stages.load(last.student, self.config.evidence.stage),
            adapter=last.adapter.path if last.adapter else None,
            adapter_key=last.adapter.key if last.adapter else None,
        )

    def train(self, pool: Pool, round: int) -> dict[str, Any]:
        """Train what is missing, measure every stage, and give the fields of the record."""
        turns = self._turns(pool, round)
        last = turns[-1]
        record = read_json(last.student.path / "record.json")
        adapter = last.adapter.key if last.adapter else None
        found: dict[str, Any] = {
            "keys": {"student": last.student.key, "adapter": adapter},
            "pseudo": summary(last.made, last.admitted) if last.made else None,
            "parameters": {"student": record["parameters"], "adapter": self._counts(last)},
            "dead_classes": record["dead_classes"],
        }
        if self.config.sfr:
            found["gate"] = last.gate
        if self.config.plus:
            found["turns"] = [self._told(turn, k) for k, turn in enumerate(turns)]
        found |= measure(self.bench, self._measured(turns), round)
        if self.config.audit and last.made:  # after all training and scoring of the round
            found["audit"] = audit(
                self.bench, round, last.made, last.admitted, self.stages.num_classes, last.taught
            )
        return found

    def _turns(self, pool: Pool, round: int) -> list[Turn]:
        """One turn, or those of SFR+; the last one counts."""
        given = Given(pool=pool, round=round)
        if self.config.plus:
            return list(turns_of(self.stages, given))
        if self.config.sfr:
            return [first_turn(self.stages, given)[0]]
        return [bare_turn(self.stages, given)]

    def _told(self, turn: Turn, number: int) -> dict[str, Any]:
        """One turn of SFR+ in the record."""
        adapter = turn.adapter.key if turn.adapter else None
        keys = {"student": turn.student.key, "adapter": adapter}
        return {"turn": number, "keys": keys, "gate": turn.gate, **turn.plus}

    def _counts(self, turn: Turn) -> dict[str, int] | None:
        """Exact numbers of parameters of the adapter and its base."""
        if turn.adapter is None:
            return None
        record = read_json(turn.adapter.path / "record.json")
        return {name: value for name, value in record.items() if name.endswith("_parameters")}

    def _measured(self, turns: list[Turn]) -> dict[str, tuple[Segmenter, str]]:
        """Every model that is evaluated: SAM3 alone, the student, its EMA teacher.

        Stages of earlier turns of SFR+ carry the number of their turn in their name.
        """
        stages: dict[str, tuple[Segmenter, str]] = {}
        for number, turn in enumerate(turns):
            is_last = number == len(turns) - 1
            if not is_last and not self.config.sfr_plus.measure_turns:
                continue
            suffix = "" if is_last else f"_turn_{number}"
            if turn.adapter is not None:
                stages[f"sam{suffix}"] = self.stages.sam(turn.adapter), turn.adapter.key
            stages[f"student{suffix}"] = self._student(turn, "student")
            if is_last:
                stages["teacher"] = self._student(turn, "teacher")
        return stages

    def _student(self, turn: Turn, which: Any) -> tuple[Segmenter, str]:
        return self.stages.load(turn.student, which), turn.student.key
