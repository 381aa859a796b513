"""Constraints around any strategy: it is asked, its answer is checked, and it is asked again."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from salearn.cases import CaseId, Pool, Selection, UnitId, check_request, parse_unit
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.features.index import unit_rows
from salearn.oracle import CostModel
from salearn.settings import Field, settings
from strategies.limits import Limits
from strategies.outlook import Outlook, near, outlook_of
from strategies.registry import Strategy

log = logging.getLogger(__name__)


@settings
class LimitSettings:
    """`strategy.limits` of a config: what a batch of any strategy must keep to.

    Attributes:
        per_patient: most units of one patient in a round; a case of unknown patient is its own.
        whole_patients: a budget by patient: all units of a patient are annotated before the next
            patient's, patients in the order in which the strategy first names one of theirs. The
            last patient of a round may be cut by the budget; the next round begins with the rest.
        slice_gap: slices of a case lie at least so far apart, labeled ones included.
        near_duplicate: no unit with a larger cosine (frozen encoder) to a labeled or chosen one.
        class_quota: share of the batch that is split evenly over the predicted classes
            (ClaSP-style; 0.66 there). Not kept while nothing is trained.
        seconds: a round ends before the unit with which its expected seconds of annotation would
            be spent; one unit is always asked for.
        first_slices: drawn slices that a volume is expected to take while nothing is trained.
        short: what happens if fewer than n units keep to the rules: "relax" gives them up one by
            one in the order of `strategies.limits.RELAXED` and logs it, "refuse" stops.
        asks: how often the strategy is asked before its scores are walked down instead.
    """

    per_patient: int | None = Field(default=None, ge=1)
    whole_patients: bool = False
    slice_gap: int = Field(default=0, ge=0)
    near_duplicate: float | None = Field(default=None, ge=-1, le=1)
    class_quota: float | None = Field(default=None, gt=0, le=1)
    seconds: float | None = Field(default=None, gt=0)
    first_slices: int = Field(default=20, ge=1)
    short: Literal["relax", "refuse"] = "relax"
    asks: int = Field(default=8, ge=1)

    def __post_init__(self) -> None:
        others = self.per_patient, self.near_duplicate, self.class_quota, self.slice_gap or None
        if self.whole_patients and any(other is not None for other in others):
            raise ConfigError(
                "strategy.limits.whole_patients takes every unit of a patient; it goes with none "
                "of per_patient, slice_gap, near_duplicate and class_quota"
            )


@dataclass(frozen=True, kw_only=True)
class Constrained:
    """A strategy that keeps to limits, whatever rule it chooses by.

    The strategy is asked for n units of the pool. What breaks a rule, given the choices before it,
    leaves the pool together with everything else that the rules now forbid, and the strategy is
    asked again with the same randomness. After `asks` rounds of that the rest is taken down the
    strategy's scores. With nothing to forbid the answer is the strategy's own.

    Attributes:
        patients: patient of a case, where it is known.
        cost: the declared cost model; `axis` is that of the slices.
    """

    strategy: Strategy
    limits: LimitSettings
    patients: Mapping[CaseId, str] = field(default_factory=dict)
    cost: CostModel = field(default_factory=CostModel)
    axis: int = 2

    @property
    def may_stop_early(self) -> bool:
        """Whether a round may take fewer units than it was given."""
        return self.limits.seconds is not None

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """At most n units that keep to the limits, exactly n without `seconds`.

        Raises:
            ConfigError: short is "refuse" and fewer than n units keep to the limits.
        """
        check_request(pool, n)
        if not n:
            return self.strategy.select(pool, 0, evidence, rng)
        if self.limits.whole_patients:
            return self._by_patient(pool, n, evidence, rng)
        outlook = outlook_of(pool, evidence, self.axis, self._wanted(evidence))
        batch = _Batch(self, pool, n, outlook)
        walk = copy.deepcopy(rng)  # for ties; the strategy keeps the generator it was given
        scores = batch.ask(evidence, rng)
        batch.walk_down(scores, walk.permutation(len(batch.units)))
        chosen = [batch.units[row] for row in batch.rows]
        return Selection(unit_ids=tuple(self._paid(chosen, outlook, evidence)), scores=scores)

    def _by_patient(
        self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator
    ) -> Selection:
        """Patients that were begun, then patients as the strategy names them, each to its end."""
        found = self.strategy.select(pool, n, evidence, copy.deepcopy(rng))
        walk = rng.permutation(len(pool.unlabeled))
        rest = [sorted(pool.unlabeled)[i] for i in walk]
        rest.sort(key=lambda unit: -found.scores[unit])
        order = list(dict.fromkeys([*found.unit_ids, *rest]))
        rank: dict[str, int] = {self.patient(unit): 0 for unit in pool.labeled}
        for unit in order:
            rank.setdefault(self.patient(unit), len(rank) + 1)
        chosen = sorted(order, key=lambda unit: rank[self.patient(unit)])[:n]
        outlook = outlook_of(pool, evidence, self.axis, self._wanted(evidence))
        return Selection(unit_ids=tuple(self._paid(chosen, outlook, evidence)), scores=found.scores)

    def patient(self, unit: UnitId) -> str:
        """The patient of a unit, or its case where nobody knows."""
        case = parse_unit(unit)[0]
        return self.patients.get(case) or str(case)

    def _wanted(self, evidence: Evidence) -> bool:
        """Whether predictions of the pool are needed."""
        asked = self.limits.class_quota is not None or self.limits.seconds is not None
        if asked and not evidence.trained:
            log.info("limits: nothing is trained yet; every unit is expected to cost the same")
        return asked and evidence.trained

    def _paid(
        self, chosen: Sequence[UnitId], outlook: Outlook, evidence: Evidence
    ) -> Sequence[UnitId]:
        """As many of the chosen units, in order, as the seconds of a round pay for."""
        if self.limits.seconds is None:
            return chosen
        first = self.limits.first_slices
        prices = [outlook.seconds(unit, self.cost, first) for unit in chosen]
        paid = max(1, int((np.cumsum(prices) <= self.limits.seconds).sum()))
        if paid < len(chosen):
            log.info("limits: %d of %d units fill the seconds of the round", paid, len(chosen))
        return chosen[:paid]


class _Batch:
    """The rows that are chosen so far, and what may still be chosen."""

    def __init__(self, rules: Constrained, pool: Pool, n: int, outlook: Outlook) -> None:
        self.rules, self.pool, self.n = rules, pool, n
        self.units = sorted(pool.unlabeled)
        self.row_of = {unit: row for row, unit in enumerate(self.units)}
        self.z, self.labeled_z = np.zeros((len(self.units), 0)), np.zeros((0, 0))
        self.outlook = outlook
        self.start()

    def start(self) -> None:
        """Nothing chosen, all rules held."""
        given = self.rules.limits
        self.rows: list[int] = []
        self.limits = Limits(self.units, given.near_duplicate)
        if given.per_patient is not None:
            patients = [self.rules.patient(u) for u in self.units]
            self.limits.cap_per_patient(given.per_patient, patients)
        if given.slice_gap:
            self.limits.slice_gap(given.slice_gap, self.units, self.pool.labeled)
        if given.class_quota is not None and self.outlook.known:
            classes = np.array([self.outlook.classes[unit] for unit in self.units], dtype=np.int64)
            count = self.outlook.num_classes
            each = int(given.class_quota * self.n) // max(count, 1)
            self.limits.class_quota(classes, np.full(count, each, dtype=np.int64), self.n)
        self.nearest = near(self.z, self.labeled_z)

    def free(self) -> np.ndarray:
        """Which rows may be chosen now."""
        return self.limits.free(slice(0, len(self.units)), self.nearest)

    def take(self, row: int) -> None:
        """Choose a row."""
        self.rows.append(row)
        self.limits.take(row)
        if self.z.shape[1]:
            np.maximum(self.nearest, self.z @ self.z[row], out=self.nearest)

    def ask(self, evidence: Evidence, rng: np.random.Generator) -> dict[UnitId, float]:
        """Ask the strategy until its answer keeps to the rules; everybody's score."""
        if self.rules.limits.near_duplicate is not None:
            self.z = _rows(evidence, self.units)
            self.labeled_z = _rows(evidence, sorted(self.pool.labeled))
        scores: dict[UnitId, float] = {}
        barred: set[UnitId] = set()
        for _ in range(self.rules.limits.asks):
            self.start()
            left = tuple(unit for unit in self.units if unit not in barred)
            part = Pool(labeled=self.pool.labeled, unlabeled=left)
            count = min(self.n, len(left))
            found = self.rules.strategy.select(part, count, evidence, copy.deepcopy(rng))
            scores = {**found.scores, **scores} if scores else dict(found.scores)
            scores |= {unit: found.scores[unit] for unit in found.unit_ids}
            if self._accept(found.unit_ids):
                break
            closed = {self.units[row] for row in np.flatnonzero(~self.free())}
            closed -= {self.units[row] for row in self.rows}
            if closed <= barred:
                break
            barred |= closed
        return scores

    def _accept(self, answer: Sequence[UnitId]) -> bool:
        """Take what keeps to the rules, in order; whether that was all of n units."""
        for unit in answer:
            if self.free()[self.row_of[unit]]:
                self.take(self.row_of[unit])
        return len(self.rows) == self.n

    def walk_down(self, scores: Mapping[UnitId, float], order: np.ndarray) -> None:
        """Fill the batch by score, ties by `order`; rules are given up where nothing is left."""
        values = np.array([scores[unit] for unit in self.units])
        while len(self.rows) < self.n:
            free = np.flatnonzero(self.free())
            if free.size:
                self.take(int(free[np.lexsort((order[free], -values[free]))[0]]))
            else:
                self._relax()

    def _relax(self) -> None:
        given, found = self.rules.limits, len(self.rows)
        if given.short == "refuse":
            raise ConfigError(
                f"strategy.limits: {self.n} units are wanted, but only {found} of "
                f"{len(self.units)} keep to {', '.join(self.limits.held)}; loosen one of them, "
                "lower the budget, or set strategy.limits.short=relax"
            )
        if not self.limits.relax():
            raise ValueError("no unit is left to pick")


def _rows(evidence: Evidence, units: Sequence[UnitId]) -> np.ndarray:
    """Frozen embeddings, of unit length or zero."""
    if not units:
        return np.zeros((0, 0), dtype=np.float32)
    return unit_rows(np.asarray(evidence.embeddings(units)))
