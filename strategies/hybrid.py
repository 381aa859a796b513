"""Hybrid: DKD at the cold start, with ASD mixed in as the labeled units cover the pool."""

from __future__ import annotations

import logging
from typing import Literal

import numpy as np

from salearn.cases import Pool, Selection, check_request
from salearn.errors import ConfigError
from salearn.evidence import Evidence
from salearn.settings import Field, settings
from strategies.cells import pick_cells
from strategies.difficulty import DifficultySettings, difficulties, read_units
from strategies.divergence import DivergenceSettings, NoiseSettings, Survey, survey
from strategies.greedy import Batch, Score, greedy, product
from strategies.limits import Limits
from strategies.regions import Reading
from strategies.registry import register
from strategies.terms import difficulty_weight, ranks

log = logging.getLogger(__name__)


@register("hybrid")
@settings
class Hybrid(DivergenceSettings, DifficultySettings, NoiseSettings):
    """DKD with ASD mixed into its gap by competence, under hard constraints.

    u_i = (1 - alpha_t) g_i + alpha_t R(ASD_i);
    score_i(S) = (lambda0 + (1 - lambda0) u_i) * v_i(S) * rho_i^gamma. ASFDA-style reconstruction:
    the source (arXiv 2509.10784) publishes no equations.

    Attributes:
        alpha_max, alpha_slope, alpha_middle: weight of ASD as a function of coverage c_t.
        trust_zero_shot: use ASD in round 0 as well, if something can segment then.
        mode: product (above); for ablation: sum = (1 - eta) u + eta R(v); rank-product =
            R(u) R(v) rho^gamma; cluster = per k-means cell the largest u among the `cell_typical`
            most typical; two-extremes = both ends of u.
        per_volume: most picks of a volume; None = max(1, ceil(3 n / volumes)).
        slice_gap: slices of a volume lie at least so far apart, labeled ones included.
        near_duplicate: nothing with a larger cosine to a labeled or picked unit.
        cost: seconds of annotation a, b per region pixel, c per boundary edge: scores are divided
            by a + b * area + c * boundary over its mean (once there are maps); None = equal costs.

    If a batch cannot be filled the rules are given up in the order near_duplicate, slice_gap,
    per_volume, gate, and the log says so.
    """

    SOURCE = "ASFDA-style reconstruction (arXiv 2509.10784 gives no equations)"

    alpha_max: float = Field(default=0.5, ge=0, le=1)
    alpha_slope: float = Field(default=8.0, gt=0)
    alpha_middle: float = Field(default=0.5, ge=0, le=1)
    trust_zero_shot: bool = False
    mode: Literal["product", "sum", "rank-product", "cluster", "two-extremes"] = "product"
    eta: float = Field(default=0.5, ge=0, le=1)
    cell_typical: int = Field(default=3, ge=1)
    per_volume: int | None = Field(default=None, ge=1)
    slice_gap: int = Field(default=3, ge=0)
    near_duplicate: float = Field(default=0.98, ge=-1, le=1)
    cost: tuple[float, float, float] | None = None

    def select(self, pool: Pool, n: int, evidence: Evidence, rng: np.random.Generator) -> Selection:
        """Choose n units greedily under the constraints."""
        check_request(pool, n)
        if not pool.unlabeled:
            return Selection(unit_ids=(), scores={})
        seen = survey(pool, evidence, self)
        u, price = self._utility(seen, evidence)
        batch = self._choose(seen, u, price, n, evidence.round, rng)
        return seen.answer(batch)

    def alpha(self, seen: Survey, evidence: Evidence) -> float:
        """Weight of ASD now: 0 while nothing is trained, and in round 0 unless trusted."""
        if not evidence.trained or (evidence.round == 0 and not self.trust_zero_shot):
            return 0.0
        return difficulty_weight(seen.coverage, self.alpha_max, self.alpha_slope, self.alpha_middle)

    def _utility(self, seen: Survey, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """Static utility u, and the price of each unit relative to the mean."""
        alpha = self.alpha(seen, evidence)
        log.info("hybrid: coverage %.3f, alpha %.3f, gamma %.3f", seen.coverage, alpha, seen.gamma)
        if alpha == 0:
            return seen.gap, np.ones(len(seen.units))
        readings = read_units(seen.units, evidence, self)
        asd = difficulties(seen.units, seen.labeled, readings, evidence, self)
        return (1 - alpha) * seen.gap + alpha * ranks(asd), self._price(readings)

    def _price(self, readings: list[Reading]) -> np.ndarray:
        if self.cost is None:
            return np.ones(len(readings))
        base, area, edge = self.cost
        seconds = np.array([base + area * r.area + edge * r.boundary for r in readings])
        if seconds.min() <= 0:
            raise ConfigError(f"cost {self.cost}: some unit takes no time; make the first positive")
        price: np.ndarray = seconds / seconds.mean()
        return price

    def _limits(self, seen: Survey, n: int) -> Limits:
        limits = seen.limits(self.near_duplicate)
        limits.cap_per_volume(self.per_volume, n)
        limits.slice_gap(self.slice_gap, seen.units, seen.labeled)
        return limits

    def _choose(
        self,
        seen: Survey,
        u: np.ndarray,
        price: np.ndarray,
        n: int,
        round_: int,
        rng: np.random.Generator,
    ) -> Batch:
        limits = self._limits(seen, n)
        if self.mode == "product":
            static = self.shaken(seen.static(u, self.lambda0) / price, round_, rng)
            return greedy(
                seen.z, seen.labeled_z, n, product(static), limits, rng, nearest=seen.nearest
            )
        u = self.shaken(u / price, round_, rng)
        if self.mode == "cluster":
            return pick_cells(
                seen.z, seen.labeled_z, u, seen.rho, n, self.cell_typical, limits, rng
            )
        score = self._ablation(seen, u)
        near = seen.nearest
        return greedy(seen.z, seen.labeled_z, n, score, limits, rng, nearest=near, pool_wide=True)

    def _ablation(self, seen: Survey, u: np.ndarray) -> Score:
        """Scores of the other greedy modes; they rank over the whole pool."""
        if self.mode == "sum":
            return lambda v, _: (1 - self.eta) * u + self.eta * ranks(v)
        if self.mode == "rank-product":
            static = ranks(u) * seen.rho**seen.gamma
            return lambda v, _: static * ranks(v)
        ends = 2 * np.abs(ranks(u) - 0.5)
        return lambda v, _: ends
