"""The shared maths, against numbers by hand, scipy and brute force."""

from __future__ import annotations

import logging
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from salearn.cases import UnitId
from salearn.features.index import IndexSettings
from strategies.coverage import cover_greedily
from strategies.greedy import greedy, product
from strategies.limits import Limits
from strategies.terms import (
    bank_gap,
    competence,
    density_exponent,
    difficulty_weight,
    diversity,
    drift_gap,
    expected_foreground,
    gate,
    nearest_labeled,
    neighbourhood,
    noise_factor,
    ranks,
    snap,
    stability_gap,
)
from tests.strategies.stand_in import unit_length

FEW = settings(max_examples=25, deadline=None, derandomize=True)


def plane(*degrees: float) -> np.ndarray:
    """Unit vectors in a plane."""
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def numbered(count: int) -> list[UnitId]:
    return [UnitId(f"u{i:04d}") for i in range(count)]


@FEW
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=30))
def test_ranks_are_scipys_average_ranks_scaled_and_blind_to_rising_functions(
    values: list[int],
) -> None:
    x = np.array(values, dtype=float)
    assert np.allclose(ranks(x), (rankdata(x) - 1) / (len(x) - 1))
    assert np.array_equal(ranks(x), ranks(np.exp(x) * 3 + 7))


def test_equal_values_and_a_lone_one_rank_in_the_middle() -> None:
    assert ranks(np.full(4, 7.0)).tolist() == [0.5] * 4
    assert ranks(np.array([3.0])).tolist() == [0.5]
    assert ranks(np.zeros(0)).tolist() == []


def test_diversity_by_hand() -> None:
    # nothing covered: 1; a right angle: (1 - 0) / 2; the same direction: 0
    assert diversity(np.array([-1.0, 0.0, 1.0], dtype=np.float32)).tolist() == [1.0, 0.5, 0.0]


def test_typicality_and_delta_by_hand() -> None:
    z = plane(0, 60, 120)  # cos 60 = 1/2, cos 120 = -1/2
    rho, delta = neighbourhood(z, 2)
    assert np.allclose(rho, [0.0, 0.5, 0.0], atol=1e-6)  # means of (1/2, -1/2), (1/2, 1/2), ...
    assert delta == pytest.approx(-0.5, abs=1e-6)  # second neighbours: -1/2, 1/2, -1/2; median
    rho, delta = neighbourhood(z, 20)  # k is capped at 2
    assert np.allclose(rho, [0.0, 0.5, 0.0], atol=1e-6)


def test_a_lone_unit_has_no_neighbourhood_and_a_blank_one_is_least_typical() -> None:
    assert neighbourhood(plane(0), 20) == (np.array([0.0]), 1.0)
    z = np.vstack([plane(0, 180), np.zeros((1, 2), dtype=np.float32)])
    rho, _ = neighbourhood(z, 20)
    assert rho.tolist() == [-1.0, -1.0, -1.0]


def test_rounding_noise_is_not_taken_for_an_order() -> None:
    # all cosines are 1 up to the 7th decimal; unrounded they would rank from 0 to 1
    z = unit_length(np.random.default_rng(0).standard_normal((40, 19)))
    raw = np.einsum("ud,ud->u", z, z)
    assert len(set(raw.tolist())) > 1
    assert ranks(snap(raw)).tolist() == [0.5] * 40
    assert ranks(drift_gap(z, z)).tolist() == [0.5] * 40


def test_competence_by_hand() -> None:
    z = plane(0, 60, 120)
    nearest = nearest_labeled(z, plane(0))  # 1, 1/2, -1/2
    assert np.allclose(nearest, [1, 0.5, -0.5], atol=1e-6)
    assert competence(nearest, 0.5) == pytest.approx(2 / 3)
    assert competence(nearest_labeled(z, z[:0]), 0.5) == 0.0


def test_the_density_exponent_starts_at_1_and_falls_to_0_at_the_end() -> None:
    assert density_exponent(0, 0.9, 0.8) == 1.0
    assert density_exponent(1, 0.2, 0.8) == pytest.approx(0.75)  # 1 - 0.2 / 0.8
    assert density_exponent(3, 0.8, 0.8) == density_exponent(3, 0.95, 0.8) == 0.0


def test_the_weight_of_difficulty_by_hand() -> None:
    # s(1/2) = 1/2, s(1) = 1 / (1 + e^-4) = 0.98201; 0.5 * 0.5 / 0.98201 = 0.25458
    assert difficulty_weight(0.5, 0.5, 8.0, 0.5) == pytest.approx(0.25458, abs=1e-5)
    assert difficulty_weight(1.0, 0.5, 8.0, 0.5) == pytest.approx(0.5)


def test_gaps_by_hand() -> None:
    frozen, tuned = plane(0, 0), plane(60, 0)
    assert np.allclose(drift_gap(frozen, tuned), [0.5, 0.0], atol=1e-6)
    views = np.stack([plane(0, 60), plane(0, 0)])  # mean cosines (1 + 1/2) / 2 and 1
    assert np.allclose(stability_gap(frozen, views), [0.25, 0.0], atol=1e-6)
    bank = plane(0, 60, 90)
    # from 0 degrees the two nearest have cosines 1, 1/2: 1 - 0.75
    assert np.allclose(bank_gap(plane(0), bank, centres=40, k=2), [0.25], atol=1e-6)
    assert np.allclose(bank_gap(plane(0), bank, centres=40, k=10), [0.5], atol=1e-6)


def test_a_large_bank_is_reduced_to_its_centres() -> None:
    bank = np.repeat(plane(0, 90), 30, axis=0)
    # two centres at 0 and 90 degrees: the mean of cosines 1 and 0 from 0 degrees
    assert np.allclose(bank_gap(plane(0), bank, centres=2, k=10), [0.5], atol=1e-5)


def test_expected_foreground_by_hand() -> None:
    labeled, present = plane(0, 90), np.array([True, False])
    pi = expected_foreground(plane(0, 45), labeled, present, k=5, temperature=0.5)
    # cosines 1 and 0: e^(1/0.5) / (e^2 + e^0) = 0.88080; at 45 degrees both weigh the same
    assert np.allclose(pi, [0.88080, 0.5], atol=1e-5)
    assert expected_foreground(plane(0), labeled[:0], present[:0], 5, 0.5).tolist() == [0.0]


def test_noise_shrinks_over_the_loops_and_comes_from_the_generator() -> None:
    def spread(round_: int) -> float:
        factor = noise_factor(20000, round_, (1.0, 100.0), 5, np.random.default_rng(0))
        return float(np.log(factor).std())

    # a Gumbel of scale 1/beta has standard deviation pi / sqrt(6) / beta; beta = 1, 10, 100
    assert spread(0) == pytest.approx(1.2825, rel=0.03)
    assert spread(2) == pytest.approx(0.12825, rel=0.03)
    assert spread(4) == spread(9) == pytest.approx(0.012825, rel=0.03)


def test_the_gate_shuts_out_the_least_typical() -> None:
    assert gate(np.array([0.0, 0.04, 0.05, 1.0]), 0.05).tolist() == [True, True, False, False]
    assert not gate(np.array([0.0, 1.0]), 0.0).any()


@FEW
@given(st.integers(0, 10_000))
def test_greedy_equals_brute_force_and_lazy_equals_eager(seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = unit_length(rng.standard_normal((60, 4)))
    z[30:40] = z[20:30]  # duplicates: ties
    labeled, static = z[:3], np.round(rng.uniform(0.2, 1, 60), 1)
    runs = [
        greedy(z, labeled, 20, product(static), Limits(numbered(60)), pick_rng(), lazy=lazy)
        for lazy in (True, False)
    ]
    assert runs[0].rows.tolist() == runs[1].rows.tolist()
    assert np.allclose(runs[0].scores, runs[1].scores, atol=1e-6)
    picks: list[int] = []
    for row, score in zip(runs[0].rows, runs[0].scores[runs[0].rows], strict=True):
        covered = np.vstack([labeled, z[picks]]).astype(np.float64)
        v = (1 - (z.astype(np.float64) @ covered.T).max(axis=1)) / 2
        values = static * v
        values[picks] = -1
        assert score == pytest.approx(values.max(), abs=2e-6)
        assert values[row] == pytest.approx(values.max(), abs=2e-6)
        picks.append(int(row))


def pick_rng() -> np.random.Generator:
    return np.random.default_rng(11)


def test_lazy_equals_eager_over_many_blocks() -> None:
    rng = np.random.default_rng(0)
    z = unit_length(rng.standard_normal((3000, 8)))
    static = rng.uniform(0.2, 1, 3000)
    lazy, eager = (
        greedy(z, z[:1], 40, product(static), Limits(numbered(3000)), pick_rng(), lazy=flag)
        for flag in (True, False)
    )
    assert lazy.rows.tolist() == eager.rows.tolist()
    assert np.allclose(lazy.scores, eager.scores, atol=1e-6)


def test_the_first_pick_without_anything_covered_has_v_1() -> None:
    batch = greedy(
        plane(0, 180),
        plane()[:0],
        1,
        product(np.array([0.3, 0.7])),
        Limits(numbered(2)),
        pick_rng(),
    )
    assert batch.rows.tolist() == [1]
    assert batch.scores[1] == pytest.approx(0.7)  # 0.7 * 1
    assert batch.scores[0] == pytest.approx(0.3)  # 0.3 * (1 - cos 180) / 2


def test_facility_location_equals_brute_force_on_the_full_graph() -> None:
    rng = np.random.default_rng(5)
    z, weights = unit_length(rng.standard_normal((12, 3))), rng.uniform(0.2, 1, 12)
    cosine = np.maximum(z.astype(float) @ z.T, 0)

    def objective(chosen: tuple[int, ...]) -> float:
        return float((weights * cosine[:, list(chosen)].max(axis=1)).sum())

    batch = cover_greedily(
        z, z[:0], weights, 3, 11, Limits(numbered(12)), pick_rng(), IndexSettings()
    )
    picks: list[int] = []
    for _ in range(3):
        rest = [j for j in range(12) if j not in picks]
        picks.append(max(rest, key=lambda j: objective((*picks, j))))
    assert batch.rows.tolist() == picks
    best = max(objective(c) for c in combinations(range(12), 3))
    assert objective(tuple(picks)) >= (1 - 1 / np.e) * best
    assert batch.scores[picks[0]] == pytest.approx(objective((picks[0],)), abs=1e-4)


def test_limits_are_given_up_in_the_stated_order_and_the_log_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    units = [UnitId(f"a@{z:03d}") for z in range(4)]
    limits = Limits(units, near_duplicate=0.9)
    limits.shut("gate", np.array([False, False, False, True]))
    limits.cap_per_volume(2, n=4)
    limits.slice_gap(2, units, [])
    z = plane(0, 90, 1, 180)  # slice 2 nearly repeats slice 0
    with caplog.at_level(logging.WARNING):
        batch = greedy(z, z[:0], 4, product(np.array([1, 0.5, 0.4, 2])), limits, pick_rng())
    # 0; then 1 is too near in z, 2 a duplicate, 3 gated: first the duplicate is let in,
    # then the gap (already useless), the cap of 2, and last the gate
    assert batch.rows.tolist() == [0, 2, 1, 3]
    given_up = [r.getMessage().split()[-4] for r in caplog.records]
    assert given_up == ["near_duplicate", "slice_gap", "per_volume", "gate"]


def test_the_default_cap_is_three_times_the_even_share() -> None:
    units = [UnitId(f"{case}@{z:03d}") for case in "ab" for z in range(9)]
    limits = Limits(units)
    limits.cap_per_volume(None, n=2)  # ceil(3 * 2 / 2) = 3
    everything, nearest = slice(0, 18), np.full(18, -1.0)
    for row in (0, 1, 2):
        assert limits.free(everything, nearest)[3]
        limits.take(row)
    free = limits.free(everything, nearest)
    assert not free[:9].any()
    assert free[9:].all()
