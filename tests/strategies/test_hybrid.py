"""Hybrid: how ASD enters, the constraints of a batch, the ablation modes, costs."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import get_args, get_type_hints

import numpy as np
import pytest

from salearn.cases import Pool, UnitId, parse_unit
from salearn.errors import ConfigError
from strategies.asd import Asd
from strategies.divergence import survey
from strategies.dkd import Dkd
from strategies.hybrid import Hybrid
from strategies.terms import ranks
from tests.strategies.stand_in import StandIn, unit_length, world

LOOSE = {"near_duplicate": 1.0, "slice_gap": 0, "per_volume": 10**6}
MODES = get_args(get_type_hints(Hybrid)["mode"])


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_the_cold_start_is_dkd() -> None:
    pool, evidence = world("volume", 0)
    trusted = replace(evidence, trained=True)
    for seen in (evidence, trusted):
        ours = Hybrid(**LOOSE).select(pool, 6, seen, rng())  # type: ignore[arg-type]
        assert ours == Dkd().select(pool, 6, seen, rng())
        assert seen.asked["probabilities"] == 0


def test_zero_shot_maps_are_used_in_round_0_only_if_trusted() -> None:
    pool, evidence = world("volume", 0)
    Hybrid(trust_zero_shot=True).select(pool, 2, replace(evidence, trained=True), rng())
    assert evidence.asked["probabilities"] == len(pool.unlabeled)
    assert Hybrid(trust_zero_shot=True).select(pool, 2, evidence, rng()).unit_ids


def test_the_score_by_hand() -> None:
    pool, evidence = world("volume", 2)
    made = Hybrid(gate=0, neighbours=2, **LOOSE)  # type: ignore[arg-type]
    seen = survey(pool, evidence, made)
    asd = Asd().select(pool, 0, evidence, rng()).scores
    difficulty = ranks(np.array([asd[u] for u in seen.units]))
    rise = {c: 1 / (1 + math.exp(-8 * (c - 0.5))) for c in (seen.coverage, 1.0)}
    alpha = 0.5 * rise[seen.coverage] / rise[1.0]
    assert 0 < alpha < 0.5
    u = (1 - alpha) * seen.gap + alpha * difficulty
    v = (1 - (seen.z @ seen.labeled_z.T).max(axis=1)) / 2
    score = (0.2 + 0.8 * u) * v * seen.rho**seen.gamma
    answer = made.select(pool, 1, evidence, rng())
    assert answer.unit_ids == (seen.units[int(score.argmax())],)
    assert answer.scores[answer.unit_ids[0]] == pytest.approx(score.max(), abs=2e-6)


def test_at_full_weight_and_without_diversity_it_ranks_by_difficulty() -> None:
    pool, evidence = world("volume", 2, num_labeled=25)
    made = Hybrid(
        alpha_max=1,
        alpha_slope=1e-9,
        mode="sum",
        eta=0,
        gate=0,
        **LOOSE,  # type: ignore[arg-type]
    )
    ours = made.select(pool, 3, evidence, rng()).unit_ids
    assert ours == Asd().select(pool, 3, evidence, rng()).unit_ids


def test_a_volume_gives_at_most_its_share_and_slices_keep_their_distance() -> None:
    pool, evidence = world("slice", 2, num_cases=12)
    made = Hybrid(per_volume=1, slice_gap=3)
    places = [parse_unit(u) for u in made.select(pool, 8, evidence, rng()).unit_ids]
    assert max(Counter(case for case, _ in places).values()) == 1
    apart = Hybrid(per_volume=9, slice_gap=3).select(pool, 8, evidence, rng()).unit_ids
    for unit in apart:
        case, z = parse_unit(unit)
        for other in set(apart) | set(pool.labeled):
            near_case, near_z = parse_unit(other)
            if other != unit and near_case == case:
                assert z is not None
                assert near_z is not None
                assert abs(z - near_z) >= 3


def near_copies() -> tuple[Pool, StandIn]:
    """Ten directions, three near copies (cosine > 0.98) of each."""
    draw = rng()
    centres = unit_length(draw.standard_normal((10, 16)))
    z = unit_length(np.repeat(centres, 3, axis=0) + 0.005 * draw.standard_normal((30, 16)))
    units = tuple(UnitId(f"u{i:02d}") for i in range(30))
    frozen = dict(zip(units, z, strict=True))
    evidence = StandIn(frozen=frozen, views={u: v[None] for u, v in frozen.items()})
    return Pool(labeled=(), unlabeled=units), evidence


def test_near_duplicates_are_taken_only_when_nothing_else_is_left(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pool, evidence = near_copies()
    with caplog.at_level("WARNING"):
        ten = Hybrid(gate=0).select(pool, 10, evidence, rng()).unit_ids
    assert len({int(u[1:]) // 3 for u in ten}) == 10
    assert not caplog.records
    with caplog.at_level("WARNING"):
        eleven = Hybrid(gate=0).select(pool, 11, evidence, rng()).unit_ids
    assert len(set(eleven)) == 11
    assert "near_duplicate is given up" in caplog.text


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("round_", [0, 2])
@pytest.mark.parametrize("kind", ["volume", "slice"])
def test_every_mode_keeps_the_contract(mode: str, kind: str, round_: int) -> None:
    pool, evidence = world(kind, round_)
    made = Hybrid(mode=mode)  # type: ignore[arg-type]
    answer = made.select(pool, 7, evidence, rng(1))
    turned = Pool(labeled=pool.labeled, unlabeled=pool.unlabeled[::-1])
    assert answer == made.select(turned, 7, evidence, rng(1))
    assert len(set(answer.unit_ids)) == 7
    assert set(answer.unit_ids) <= set(pool.unlabeled)
    assert set(answer.scores) == set(pool.unlabeled)
    assert np.isfinite(list(answer.scores.values())).all()
    everything = made.select(pool, len(pool.unlabeled), evidence, rng(1)).unit_ids
    assert sorted(everything) == sorted(pool.unlabeled)


def test_two_extremes_takes_both_ends_of_the_gap() -> None:
    pool, evidence = world("volume", 0)
    made = Hybrid(mode="two-extremes", gate=0, **LOOSE)  # type: ignore[arg-type]
    seen = survey(pool, evidence, made)
    order = [seen.units[i] for i in np.argsort(seen.gap)]
    chosen = made.select(pool, 4, evidence, rng()).unit_ids
    assert set(chosen) == {*order[:2], *order[-2:]}


def test_cluster_takes_one_unit_of_each_of_well_separated_cells() -> None:
    pool, evidence = near_copies()
    made = Hybrid(mode="cluster", gate=0)
    assert len({int(u[1:]) // 3 for u in made.select(pool, 10, evidence, rng()).unit_ids}) == 10


def test_costly_units_lose_when_a_cost_is_given() -> None:
    pool, evidence = world("volume", 2, num_labeled=25)
    plain = Hybrid(gate=0, **LOOSE)  # type: ignore[arg-type]
    free = plain.select(pool, 0, evidence, rng()).scores
    paid = replace(plain, cost=(1.0, 0.1, 0.0)).select(pool, 0, evidence, rng()).scores
    areas = {u: read_area(evidence, u) for u in pool.unlabeled}
    mean = np.mean([1 + 0.1 * a for a in areas.values()])
    for unit in pool.unlabeled:
        assert paid[unit] == pytest.approx(free[unit] * mean / (1 + 0.1 * areas[unit]), rel=1e-4)
    with pytest.raises(ConfigError, match="cost"):
        replace(plain, cost=(-1.0, 0.0, 0.0)).select(pool, 1, evidence, rng())


def read_area(evidence: StandIn, unit: UnitId) -> float:
    from strategies.difficulty import DifficultySettings, read_map

    return read_map(evidence.maps[unit], DifficultySettings()).area
