"""Constraints hold around every strategy, give way in a stated order, and cost nothing if loose."""

import logging
import pickle
from collections import Counter

import numpy as np
import pytest

from salearn.cases import CaseId, Pool, UnitId, parse_unit
from salearn.errors import ConfigError
from salearn.oracle import CostModel
from strategies.constrained import Constrained, LimitSettings
from strategies.limits import Limits
from strategies.outlook import outlook_of
from strategies.registry import Strategy, available, build
from strategies.start import Started
from tests.strategies.stand_in import unit_length, world

every = pytest.mark.parametrize("name", [name for name in available() if name != "replay"])


def wrapped(name: str, **limits) -> Constrained:
    patients = {CaseId(f"case_{i:02d}"): f"p{i // 2}" for i in range(30)}
    return Constrained(strategy=build(name), limits=LimitSettings(**limits), patients=patients)


def choose(strategy: Strategy, pool, evidence, n: int, seed: int = 0) -> tuple[UnitId, ...]:
    return strategy.select(pool, n, evidence, np.random.default_rng(seed)).unit_ids


@every
@pytest.mark.parametrize("round_", [2])
def test_limits_that_forbid_nothing_change_nothing(name: str, round_: int) -> None:
    pool, evidence = world("slice", round_)
    loose = wrapped(name, per_patient=100, near_duplicate=1.0)
    plain = build(name).select(pool, 5, evidence, np.random.default_rng(3))
    same = loose.select(pool, 5, evidence, np.random.default_rng(3))
    assert same.unit_ids == plain.unit_ids
    assert dict(same.scores) == dict(plain.scores)


@every
@pytest.mark.parametrize("round_", [0, 2])
def test_every_strategy_keeps_to_patients_gap_and_duplicates(name: str, round_: int) -> None:
    pool, evidence = world("slice", round_)  # 10 cases of 5 slices = 5 patients
    strict = wrapped(name, per_patient=2, slice_gap=3, near_duplicate=0.9, short="refuse")
    chosen = choose(strict, pool, evidence, 6)
    assert len(set(chosen)) == 6
    cases = [parse_unit(unit) for unit in chosen]
    assert max(Counter(int(str(case)[-2:]) // 2 for case, _ in cases).values()) <= 2
    everything = [*cases, *(parse_unit(unit) for unit in pool.labeled)]
    for i, (case, z) in enumerate(cases):
        others = [w for j, (c, w) in enumerate(everything) if c == case and j != i]
        assert all(abs(z - w) >= 3 for w in others)
    z = np.stack([evidence.frozen[unit] for unit in chosen])
    assert np.triu(z @ z.T, 1).max() <= 0.9


@every
def test_the_order_of_the_pool_does_not_matter_and_seeds_repeat(name: str) -> None:
    pool, evidence = world("slice", 2)
    turned = Pool(labeled=pool.labeled[::-1], unlabeled=pool.unlabeled[::-1])
    strict = wrapped(name, per_patient=1)
    assert choose(strict, pool, evidence, 4) == choose(strict, turned, evidence, 4)


def test_near_duplicates_of_labeled_units_are_not_asked_for() -> None:
    pool, evidence = world("volume", 2)
    twin = {unit: evidence.frozen[pool.labeled[0]] for unit in pool.unlabeled[:10]}
    evidence.frozen = {**evidence.frozen, **twin}
    chosen = choose(wrapped("random", near_duplicate=0.98), pool, evidence, 8)
    assert not set(chosen) & set(twin)


def test_a_class_quota_brings_the_rare_class_in() -> None:
    # 12 volumes show class 1 only, 3 also class 2; a quota of 1 in a batch of 4 wants 2 + 2
    pool, evidence = world("volume", 2)
    pool = Pool(labeled=pool.labeled, unlabeled=pool.unlabeled[:15])
    maps = {}
    for i, unit in enumerate(pool.unlabeled):
        p = np.zeros((3, 4, 4, 4), dtype=np.float32)
        p[1, :2], p[2, 2:] = 1, float(i >= 12)
        p[0] = 1 - p[1:].sum(axis=0)
        maps[unit] = p
    evidence.maps = maps
    outlook = outlook_of(pool, evidence, axis=2, wanted=True)
    assert Counter(outlook.classes.values()) == {0: 12, 1: 3}
    assert set(outlook.slices.values()) == {4}
    assert sorted(set(outlook.voxels.values())) == [32, 64]
    chosen = choose(wrapped("random", class_quota=1.0), pool, evidence, 4)
    assert Counter(outlook.classes[unit] for unit in chosen) == {0: 2, 1: 2}
    # three units are all there is of class 2: a larger batch is filled with the other
    chosen = choose(wrapped("random", class_quota=1.0, short="refuse"), pool, evidence, 8)
    assert Counter(outlook.classes[unit] for unit in chosen)[1] == 3


def test_a_round_ends_when_its_seconds_are_spent() -> None:
    pool, evidence = world("volume", 2)
    half = np.zeros((3, 4, 4, 4), dtype=np.float32)
    half[0], half[1, :, :, :2] = 1, 1
    half[0, :, :, :2] = 0
    evidence.maps = dict.fromkeys(pool.unlabeled, half)
    # 2 slices with foreground: 30 + 2 * 20 = 70 s each; 210 s pay for three, 60 s for none: one
    for seconds, count in ((210.0, 3), (209.0, 2), (60.0, 1)):
        strict = wrapped("random", seconds=seconds)
        assert strict.may_stop_early
        assert len(choose(strict, pool, evidence, 6)) == count
    # nothing is trained: a volume is expected to take 20 slices, 430 s
    pool, evidence = world("volume", 0)
    assert len(choose(wrapped("random", seconds=900.0), pool, evidence, 6)) == 2
    voxels = Constrained(
        strategy=build("random"), limits=LimitSettings(seconds=900.0),
        cost=CostModel(per_unit=0, per_slice=9),
    )  # fmt: skip
    assert len(choose(voxels, pool, evidence, 6)) == 5  # 180 s each


def test_too_few_units_are_refused_with_the_rules_that_are_held() -> None:
    pool, evidence = world("slice", 0)
    strict = wrapped("random", per_patient=1, slice_gap=2, short="refuse")
    with pytest.raises(ConfigError, match=r"6 units are wanted, but only 5 of 50 .*slice_gap, per"):
        choose(strict, pool, evidence, 6)


def test_rules_give_way_one_by_one_in_the_stated_order(caplog: pytest.LogCaptureFixture) -> None:
    pool, evidence = world("slice", 0)
    strict = wrapped("random", per_patient=1, slice_gap=2)
    with caplog.at_level(logging.WARNING, "strategies.limits"):
        chosen = choose(strict, pool, evidence, 7)
    assert len(set(chosen)) == 7
    said = [record.getMessage().split("the rule ")[1] for record in caplog.records]
    assert said == ["slice_gap is given up", "per_patient is given up"]
    # the first five are still one of each patient
    assert len({int(str(parse_unit(unit)[0])[-2:]) // 2 for unit in chosen[:5]}) == 5


def test_equal_embeddings_leave_one_pick_before_the_rule_gives_way() -> None:
    pool, evidence = world("volume", 0)
    evidence.frozen = dict.fromkeys(evidence.frozen, unit_length(np.ones(16)))
    strict = wrapped("random", near_duplicate=0.98, short="refuse")
    with pytest.raises(ConfigError, match="only 1 of 30"):
        choose(strict, pool, evidence, 2)


def test_the_quota_of_limits_by_hand() -> None:
    # rows 0..3 of class 0, row 4 of class 1, row 5 of none; of 3 picks one each is owed
    limits = Limits([UnitId(f"c{i}") for i in range(6)])
    limits.class_quota(np.array([0, 0, 0, 0, 1, -1]), np.array([1, 1]), 3)
    nearest = np.full(6, -1.0, dtype=np.float32)
    assert limits.free(slice(0, 6), nearest).all()  # one place is free for anything
    limits.take(5)
    assert limits.free(slice(0, 6), nearest).tolist() == [True] * 5 + [False]
    limits.take(0)
    assert limits.free(slice(0, 6), nearest).tolist() == [False] * 4 + [True, False]
    assert limits.held == ("class_quota",)


def test_constrained_strategies_travel_by_pickle_and_are_strategies() -> None:
    made = wrapped("dkd", per_patient=1)
    assert isinstance(made, Strategy)
    assert pickle.loads(pickle.dumps(made)) == made
    assert not made.may_stop_early


@every
def test_a_shared_start_is_the_same_for_every_strategy(name: str) -> None:
    pool, evidence = world("volume", 0)
    start = Started(build("random"), build(name))
    assert choose(start, pool, evidence, 3) == choose(build("random"), pool, evidence, 3)
    pool, evidence = world("volume", 2)
    assert choose(start, pool, evidence, 3) == choose(build(name), pool, evidence, 3)
