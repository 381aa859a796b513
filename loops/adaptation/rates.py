"""The learning rate of an arm: each of its grid for as many steps, judged on validation cases."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loops.measuring.measure import scored
from loops.sfr.given import Given, Model
from loops.sfr.stages import Stages
from loops.workbench import Workbench
from salearn.errors import ConfigError
from salearn.store import read_lines

STAGE = "sam"
Trained = Callable[[Stages, Given, float], Model]


@dataclass(frozen=True, kw_only=True)
class Chosen:
    """The rate of a round, the adapter trained with it, and how it was found.

    Attributes:
        record: for the round record: rule, rate, and the tries with their validation Dice.
    """

    rate: float
    adapter: Model
    record: dict[str, Any]


class Rates:
    """Chooses the rate of every round of a run.

    Args:
        train: gives the adapter of a round at a rate, trained now or found in the store.

    Raises:
        ConfigError: a rate is to be chosen and there are no validation cases, or grids differ in
            size.
    """

    def __init__(self, bench: Workbench, train: Trained) -> None:
        self.bench, self._train = bench, train
        self.how = bench.config.adaptation
        self.grid = self.how.grid(str(bench.config.arm["name"]), bench.config.build_arm())
        if self.how.choose_rate != "off" and not bench.split.validation:
            raise ConfigError(
                "adaptation.choose_rate: a rate is chosen on validation cases and there are none; "
                "set data.split.validation (their masks are part of the budget), or "
                "adaptation.choose_rate=off and finetune.learning_rate"
            )

    def stages(self, rate: float) -> Stages:
        """The stages of the run with this learning rate; data, oracle and SAM3 are shared."""
        for name in ("dataset", "split", "oracle", "sam"):  # opened once: the copy shares them
            getattr(self.bench, name)
        bench = copy.copy(self.bench)
        config = self.bench.config
        finetune = replace(config.finetune, learning_rate=rate)
        bench.config = replace(config, finetune=finetune)
        return Stages(bench)

    def chosen(self, given: Given) -> Chosen:
        """The rate of a round: fixed, that of the first round, or chosen now."""
        rule = self.how.choose_rate
        if rule == "off":
            return self._fixed(given, self.bench.config.finetune.learning_rate, rule)
        if known := self._told(given.round):
            return self._fixed(given, known, rule)
        return self._choose(given)

    def _told(self, round: int) -> float | None:
        """The rate that the log of the run holds for this round, or for all of them."""
        done = self.bench.finished_rounds()
        first = 0 if self.how.choose_rate == "first" else round
        return float(done[first]["rate"]["chosen"]) if first < len(done) else None

    def _fixed(self, given: Given, rate: float, rule: str) -> Chosen:
        adapter = self._train(self.stages(rate), given, rate)
        return Chosen(rate=rate, adapter=adapter, record={"rule": rule, "chosen": rate})

    def _choose(self, given: Given) -> Chosen:
        """Best mean validation Dice; of equal ones the smallest rate."""
        tries: list[dict[str, Any]] = []
        adapters = {}
        for rate in self.grid:
            stages = self.stages(rate)
            adapters[rate] = self._train(stages, given, rate)
            dice = self._dice(stages, adapters[rate], given.round)
            tries.append({"rate": rate, "validation_dice": round(dice, 6)})
        best = max(tries, key=lambda one: one["validation_dice"])["rate"]
        record = {"rule": self.how.choose_rate, "chosen": best, "tries": tries}
        return Chosen(rate=best, adapter=adapters[best], record=record)

    def _dice(self, stages: Stages, adapter: Model, round: int) -> float:
        """Mean over classes of the mean over validation cases that show the class."""
        entry = scored(self.bench, stages.sam(adapter), adapter.key, STAGE, "validation", round)
        rows = [] if entry is None else read_lines(entry / "rows.jsonl")
        by_class: dict[str, list[float]] = {}
        for row in rows:
            if row["status"] in ("ok", "missed"):  # an image without the class has no Dice
                by_class.setdefault(row["class"], []).append(float(row["dice"]))
        means = [float(np.mean(values)) for values in by_class.values()]
        return float(np.mean(means)) if means else 0.0
