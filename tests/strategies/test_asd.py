"""ASD: small maps by hand, Otsu by brute force, the miss-guard, inheritance, cold start."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.cases import Pool, UnitId
from salearn.errors import ConfigError
from strategies.asd import Asd
from strategies.difficulty import DifficultySettings, difficulties, read_map, read_units
from strategies.dkd import Dkd
from strategies.random_sampling import RandomSampling
from strategies.regions import (
    boundary_edges,
    first_peak,
    inherit,
    otsu,
    smallest_area,
    top_mean,
    uncertainty,
    worst_slab,
)
from tests.strategies.stand_in import StandIn, unit_length, world

FEW = settings(max_examples=25, deadline=None, derandomize=True)
SMALL = DifficultySettings(min_pixels=1, min_share=0)


def binary(q: list[list[float]]) -> np.ndarray:
    """A map of one slice with foreground probability q."""
    foreground = np.array(q, dtype=np.float64)[..., None]
    return np.stack([1 - foreground, foreground])


def bits(p: float) -> float:
    """Entropy of a coin in units of log 2."""
    return -(p * math.log2(p) + (1 - p) * math.log2(1 - p)) if 0 < p < 1 else 0.0


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_entropy_and_margin_by_hand() -> None:
    p = np.array([[0.5, 1.0, 0.8], [0.5, 0.0, 0.2]])
    assert np.allclose(uncertainty(p, "entropy"), [1, 0, bits(0.2)])
    assert np.allclose(uncertainty(p, "margin"), [1, 0, 0.4])


@FEW
@given(st.lists(st.integers(0, 255), min_size=2, max_size=60))
def test_otsu_is_the_best_of_all_thresholds(levels: list[int]) -> None:
    values = np.array(levels) / 256
    best = max(between(values, t / 256) for t in range(1, 256))
    if best == 0:
        assert otsu(values) == 0.0
    else:
        assert between(values, otsu(values) - 1e-9) == pytest.approx(best, rel=1e-9)


def between(values: np.ndarray, threshold: float) -> float:
    """Between-class variance, from its definition."""
    low, high = values[values < threshold], values[values >= threshold]
    if not len(low) or not len(high):
        return 0.0
    shares = len(low) * len(high) / len(values) ** 2
    return float(shares * (low.mean() - high.mean()) ** 2)


def test_otsu_of_two_levels_lies_in_the_middle() -> None:
    # bins 25 (0.1) and 230 (0.9): thresholds 26/256 .. 230/256 are equally good, middle 128/256
    assert otsu(np.array([0.1, 0.1, 0.9])) == pytest.approx(0.5)


def test_asd_of_a_small_map_by_hand() -> None:
    # Otsu splits 0 from {0.6, 1}: region = the three pixels; sum q H / sum q with H(1) = 0
    p = binary([[0.0, 0.6], [1.0, 0.6]])
    expected = 2 * 0.6 * bits(0.6) / (0.6 + 0.6 + 1.0)
    reading = read_map(p, SMALL)
    assert reading.asd == pytest.approx(expected, rel=1e-5)
    assert reading.area == 3
    assert not reading.missed
    assert reading.boundary == 2  # the corner at the origin has two inner edges


def test_classes_count_the_same_whatever_their_size() -> None:
    p = np.zeros((3, 2, 4, 1))
    p[1, 0], p[0, 0] = 0.9, 0.1  # four voxels of class 1
    p[2, 1, 0], p[0, 1, 0] = 0.6, 0.4  # one voxel of class 2
    p[0, 1, 1:] = 1
    h1 = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)) / math.log(3)
    h2 = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4)) / math.log(3)
    assert read_map(p, SMALL).asd == pytest.approx((h1 + h2) / 2, rel=1e-5)
    whole = (4 * 0.9 * h1 + 0.6 * h2) / (4 * 0.9 + 0.6)
    options = replace(SMALL, per_class=False)
    assert read_map(p, options).asd == pytest.approx(whole, rel=1e-5)
    # a class below n_min is left out
    options = replace(SMALL, min_pixels=2)
    assert read_map(p, options).asd == pytest.approx(h1, rel=1e-5)


def test_the_regions_by_hand() -> None:
    p = binary([[0.0, 0.3], [0.9, 0.55]])
    soft = sum(q * bits(q) for q in (0.3, 0.9, 0.55)) / (0.3 + 0.9 + 0.55)
    argmax = (0.9 * bits(0.9) + 0.55 * bits(0.55)) / (0.9 + 0.55)
    assert read_map(p, replace(SMALL, asd_region="soft")).asd == pytest.approx(soft, rel=1e-5)
    assert read_map(p, replace(SMALL, asd_region="argmax")).asd == pytest.approx(argmax, rel=1e-5)
    assert read_map(p, replace(SMALL, asd_region="soft")).area == pytest.approx(1.75)


def test_the_peak_region_starts_at_the_first_inner_peak() -> None:
    h = np.repeat([0.0, 0.105, 0.115, 0.125, 0.505], [50, 1, 4, 2, 9])
    assert first_peak(h) == pytest.approx(0.115)  # bin 11 of 100
    assert first_peak(np.zeros(10)) == 0.0
    p = binary([[0.0, 0.3], [0.9, 0.55]])
    assert 0 < read_map(p, replace(SMALL, asd_region="peak")).asd <= 1


def test_the_threshold_stays_within_its_range() -> None:
    # Otsu of {0.8, 0.95} would be 0.87; clipped to 0.5 all pixels belong
    assert read_map(binary([[0.8, 0.8], [0.95, 0.95]]), SMALL).area == 4
    # faint noise: Otsu of {0, 0.06} clipped to 0.10, nothing belongs
    assert read_map(binary([[0.0, 0.06], [0.06, 0.06]]), SMALL).missed


def test_n_min_by_hand() -> None:
    assert smallest_area(100, 16, 1e-4) == 16
    assert smallest_area(512 * 512, 16, 1e-4) == pytest.approx(26.2144)


def test_a_volume_is_the_area_weighted_mean_of_its_slices_or_its_worst_slab() -> None:
    p = np.zeros((2, 2, 2, 4))
    p[0] = 1
    p[1, :, :, 0], p[0, :, :, 0] = 0.9, 0.1  # four pixels
    p[1, 0, :, 1], p[0, 0, :, 1] = 0.6, 0.4  # two pixels
    mean = (4 * bits(0.9) + 2 * bits(0.6)) / 6
    assert read_map(p, SMALL).asd == pytest.approx(mean, rel=1e-5)
    slab = replace(SMALL, asd_volume="max-slab", slab_share=0.5, inherit_share=0)
    assert read_map(p, slab).asd == pytest.approx((bits(0.9) + bits(0.6)) / 2, rel=1e-5)
    assert read_map(p, replace(slab, slab_share=0.1)).asd == pytest.approx(bits(0.6), rel=1e-5)


def test_the_slice_axis_is_a_setting() -> None:
    p = np.zeros((2, 2, 2, 4))
    p[0] = 1
    p[1, :, :, 0], p[0, :, :, 0] = 0.9, 0.1
    p[1, 0, :, 1], p[0, 0, :, 1] = 0.6, 0.4
    for axis in (0, 1):
        turned = np.moveaxis(p, 3, axis + 1)
        assert read_map(turned, replace(SMALL, axis=axis)).asd == read_map(p, SMALL).asd


def test_worst_slab_top_mean_and_edges_by_hand() -> None:
    assert worst_slab(np.array([0.0, 1.0, 0.5, 0.0]), 0.5) == 0.75
    assert top_mean(np.array([0.1, 0.4, 0.8, 0.2]), 0.5) == pytest.approx(0.6)
    assert boundary_edges(np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)) == 4


def test_inheritance_by_hand() -> None:
    values = np.array([0.0, 0.2, 0.0, 0.8, np.nan])
    missed = np.array([True, False, True, False, False])
    # z 0 sees 0.2 within two slices; z 2 sees 0.8; what was not missed stays
    assert np.allclose(
        inherit(values, missed, 0.5, 2), [0.1, 0.2, 0.4, 0.8, np.nan], equal_nan=True
    )


def missed_world(present: bool) -> tuple[list[UnitId], list[UnitId], StandIn]:
    """Four slices of a case whose maps are empty but for z = 3; one labeled slice elsewhere."""
    units = [UnitId(f"a@{z:03d}") for z in (0, 1, 2, 3, 8)]
    labeled = [UnitId("b@000")]
    faint = binary([[0.04, 0.0], [0.0, 0.0]])
    maps = dict.fromkeys(units, faint)
    maps[units[3]] = binary([[0.9, 0.9], [0.9, 0.0]])
    z = dict.fromkeys([*units, *labeled], np.array([1, 0], dtype=np.float32))
    evidence = StandIn(
        frozen=z, maps=maps, trained=True, round=1, present=dict.fromkeys(labeled, present)
    )
    return units, labeled, evidence


def values_of(present: bool, options: DifficultySettings) -> np.ndarray:
    units, labeled, evidence = missed_world(present)
    readings = read_units(units, evidence, options)
    return difficulties(units, labeled, readings, evidence, options)


def test_the_miss_guard_speaks_for_structures_that_nothing_was_seen_of() -> None:
    options = replace(SMALL, inherit_share=0, guard_top=0.25)
    # the one labeled neighbour shows foreground: pi = 1, times the mean of the top pixel's entropy
    guarded = values_of(True, options)
    assert np.allclose(guarded[[0, 1, 2, 4]], bits(0.04), rtol=1e-4)
    assert guarded[3] == pytest.approx(bits(0.9), rel=1e-5)
    assert np.allclose(values_of(False, options)[[0, 1, 2, 4]], 0)


def test_empty_slices_inherit_from_slices_within_two() -> None:
    values = values_of(False, SMALL)
    # z = 1, 2 lie within two slices of z = 3; z = 0 and 8 do not
    assert np.allclose(values, [0, bits(0.9) / 2, bits(0.9) / 2, bits(0.9), 0], rtol=1e-5)


def test_an_empty_volume_is_guarded_too() -> None:
    unit, labeled = UnitId("a"), UnitId("b")
    p = np.concatenate([binary([[0.04, 0.0], [0.0, 0.0]])] * 3, axis=-1)
    z = dict.fromkeys((unit, labeled), np.array([1, 0], dtype=np.float32))
    evidence = StandIn(frozen=z, maps={unit: p}, trained=True, round=1, present={labeled: True})
    pool = Pool(labeled=(labeled,), unlabeled=(unit,))
    answer = Asd(min_pixels=1, guard_top=0.25).select(pool, 1, evidence, rng())
    assert answer.scores[unit] == pytest.approx(bits(0.04), rel=1e-4)


def test_asd_takes_the_hardest_units() -> None:
    pool, evidence = world("volume", 2)
    answer = Asd().select(pool, 3, evidence, rng())
    order = sorted(answer.scores, key=lambda u: -answer.scores[u])
    assert list(answer.unit_ids) == order[:3]
    assert all(0 <= s <= 1 for s in answer.scores.values())


def test_asd_does_not_grow_with_the_size_of_the_organ() -> None:
    def disc(radius: float) -> np.ndarray:
        x, y = np.meshgrid(np.arange(64) - 32, np.arange(64) - 32)
        q = 1 / (1 + np.exp(-(radius - np.hypot(x, y)) / 1.5))
        return np.stack([1 - q, q])[..., None]

    large, little = disc(24), disc(6)
    mean = [float(uncertainty(p, "entropy").mean()) for p in (large, little)]
    assert mean[0] > mean[1]  # the whole-image mean prefers the large, easy disc
    assert read_map(large, DifficultySettings()).asd < read_map(little, DifficultySettings()).asd


def test_the_cold_start_is_random_unless_told_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    pool, evidence = world("slice", 0)
    with caplog.at_level("WARNING"):
        cold = Asd().select(pool, 4, evidence, rng())
    assert cold == RandomSampling().select(pool, 4, evidence, rng())
    assert "nothing is trained" in caplog.text
    told = Asd(cold_start="dkd").select(pool, 4, evidence, rng())
    assert told == Dkd().select(pool, 4, evidence, rng())
    for wrong, word in (("asd", "own cold start"), ("dkdd", "did you mean 'dkd'")):
        with pytest.raises(ConfigError, match=word):
            Asd(cold_start=wrong).select(pool, 1, evidence, rng())


@pytest.mark.parametrize(
    "broken",
    [
        np.full((2, 3, 3, 1), np.nan),
        np.full((2, 3, 3, 1), 1.5),
        np.ones((1, 3, 3, 1)),
        np.ones((2, 3)),
    ],
)
def test_maps_that_are_no_probabilities_are_refused_by_name(broken: np.ndarray) -> None:
    pool, evidence = world("slice", 2)
    maps = {**evidence.maps, pool.unlabeled[2]: broken}
    with pytest.raises(ValueError, match=str(pool.unlabeled[2])):
        Asd().select(pool, 1, replace(evidence, maps=maps), rng())


def test_slices_along_another_axis_than_the_setting_are_noticed() -> None:
    pool, evidence = world("slice", 2)
    with pytest.raises(ValueError, match="axis 0"):
        Asd(axis=0).select(pool, 1, evidence, rng())


def test_half_precision_maps_give_nearly_the_same() -> None:
    pool, evidence = world("slice", 2)
    half = {u: p.astype(np.float16) for u, p in evidence.maps.items()}
    full = Asd().select(pool, 1, evidence, rng()).scores
    less = Asd().select(pool, 1, replace(evidence, maps=half), rng()).scores
    assert np.allclose(list(full.values()), [less[u] for u in full], atol=2e-3)


def test_units_without_direction_do_not_break_the_guard() -> None:
    units, labeled, evidence = missed_world(True)
    frozen = {**evidence.frozen, units[0]: np.zeros(2, dtype=np.float32)}
    changed = replace(evidence, frozen=frozen)
    readings = read_units(units, changed, SMALL)
    assert np.isfinite(difficulties(units, labeled, readings, changed, SMALL)).all()
    assert np.allclose(unit_length(np.ones((1, 4))), 0.5)
