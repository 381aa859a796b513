"""Adapted SAM3 as the segmenter, without a student: the inner loop of learner "sam"."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from loops.adaptation.costs import checkpoint_bytes, measured
from loops.adaptation.external import External, external_bench
from loops.adaptation.rates import STAGE, Chosen, Rates
from loops.adaptation.trivial import trivial_rows
from loops.look import RoundEvidence
from loops.measuring.measure import EXTERNAL as ELSEWHERE
from loops.measuring.measure import Part, measure
from loops.pseudo import SamSegmenter
from loops.sfr.given import Given, Model
from loops.sfr.keys import told
from loops.sfr.stages import Stages
from loops.workbench import Workbench
from salearn.cases import Pool
from salearn.evidence import Evidence
from salearn.models.arms.whole import ZeroShot
from salearn.store import append_line, content_key, read_json, read_lines, write_json

COSTS, EXTERNAL = "costs.jsonl", "external.json"


class Alone:
    """Trains one arm of SAM3 on the labeled part of a pool, and measures SAM3 itself.

    `zero_shot` trains nothing, so its budgets share one result. Seconds, memory and size of each
    training that really ran stand in costs.jsonl of the run.
    """

    def __init__(self, bench: Workbench) -> None:
        self.bench = bench
        self.config = bench.config
        self.plain = Stages(bench)
        self.trains = not isinstance(self.plain.arm, ZeroShot)
        self.rates = Rates(bench, self._trained) if self.trains else None

    @cached_property
    def external(self) -> External | None:
        """The external test set, described in external.json of the run."""
        found = external_bench(self.bench)
        if found is not None:
            write_json(self.bench.out / EXTERNAL, found.told())
        return found

    def evidence(self, pool: Pool, round: int) -> Evidence:
        """Embeddings always; predictions and the adapted encoder from round 1 on."""
        if round == 0:
            return RoundEvidence(self.bench, round)
        chosen = self._chosen(Given(pool=pool, round=round - 1))
        return RoundEvidence(
            self.bench,
            round,
            segmenter=self._segmenter(chosen)[0],
            adapter=chosen.adapter.path if chosen else None,
            adapter_key=chosen.adapter.key if chosen else None,
        )

    def train(self, pool: Pool, round: int) -> dict[str, Any]:
        """Train what is missing, measure, and give the fields of the record."""
        external = self.external  # refused before anything is trained
        chosen = self._chosen(Given(pool=pool, round=round))
        found: dict[str, Any] = {
            "keys": {"student": None, "adapter": chosen.adapter.key if chosen else None},
            "pseudo": None,
            "parameters": {"student": None, "adapter": _counts(chosen)},
            "dead_classes": [],
            "rate": chosen.record if chosen else {"rule": "nothing is trained", "chosen": None},
        }
        found |= measure(self.bench, {STAGE: self._segmenter(chosen)}, round, external)
        return found | {"trivial": self._trivial(pool, round)}

    def _chosen(self, given: Given) -> Chosen | None:
        return None if self.rates is None else self.rates.chosen(given)

    def _trivial(self, pool: Pool, round: int) -> list[dict[str, Any]]:
        """Dice of predictors that look at no image, on the same sets."""
        masks = self.plain.masks(Given(pool=pool, round=round))
        places: dict[str, tuple[Workbench, Part]] = {"test": (self.bench, "test")}
        if self.external is not None:
            places[ELSEWHERE] = (self.external, "test")
        return trivial_rows(masks, places, round)

    def _segmenter(self, chosen: Chosen | None) -> tuple[SamSegmenter, str]:
        """SAM3 as it is to be measured, and the key of what it was trained to."""
        if chosen is not None:
            return self.plain.sam(chosen.adapter), chosen.adapter.key
        config, stitcher = self.config, self.plain.stitcher
        key = content_key("zero", self.bench.sam_key, self.bench.prompts, told(config.stitch))
        return SamSegmenter(self.bench.sam, stitcher), key

    def _trained(self, stages: Stages, given: Given, rate: float) -> Model:
        """The adapter at a rate; what a training that ran now has taken goes to costs.jsonl."""
        before = len(self._trainings())
        with measured(self.config.sam.device) as spent:
            adapter = stages.adapter(given)
        if len(self._trainings()) > before:
            size = {"checkpoint_bytes": checkpoint_bytes(adapter.path)}
            place = {"round": given.round, "rate": rate, "key": adapter.key}
            append_line(self.bench.out / COSTS, place | spent | size)
        return adapter

    def _trainings(self) -> list[dict[str, Any]]:
        return read_lines(self.bench.out / "trainings.jsonl")


def _counts(chosen: Chosen | None) -> dict[str, int] | None:
    """Exact numbers of parameters of the adapter and its base."""
    if chosen is None:
        return None
    record = read_json(chosen.adapter.path / "record.json")
    return {name: value for name, value in record.items() if name.endswith("_parameters")}
