"""What every registered strategy owes, for volumes and slices, in round 0 and later."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from salearn.cases import Pool, UnitId, best
from salearn.errors import ConfigError
from strategies.registry import STRATEGIES, Strategy, available, build
from tests.strategies.stand_in import StandIn, world

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("volume", "slice")
ROUNDS = (0, 2)

every = pytest.mark.parametrize("name", available())
each_kind = pytest.mark.parametrize("kind", KINDS)
each_round = pytest.mark.parametrize("round_", ROUNDS)


def choose(
    name: str, pool: Pool, evidence: StandIn, n: int = 5, seed: int = 0
) -> tuple[UnitId, ...]:
    return build(name).select(pool, n, evidence, np.random.default_rng(seed)).unit_ids


def test_the_four_strategies_are_registered_by_their_names() -> None:
    assert {"random", "dkd", "asd", "hybrid"} <= set(available())


def test_strategies_that_are_no_published_method_say_so() -> None:
    rows = {row["name"]: row for row in STRATEGIES.describe()}
    assert all(row["summary"] and row["source"] for row in rows.values())
    assert all("reconstruction" in rows[name]["source"] for name in ("dkd", "asd", "hybrid"))


@every
@each_kind
@each_round
def test_n_distinct_unlabeled_units_come_back_with_everybodys_finite_score(
    name: str, kind: str, round_: int
) -> None:
    pool, evidence = world(kind, round_)
    answer = build(name).select(pool, 5, evidence, np.random.default_rng(0))
    assert len(answer.unit_ids) == len(set(answer.unit_ids)) == 5
    assert set(answer.unit_ids) <= set(pool.unlabeled)
    assert set(answer.scores) == set(pool.unlabeled)
    assert np.isfinite(list(answer.scores.values())).all()


@every
@each_kind
@each_round
def test_the_same_seed_gives_the_same_answer_whatever_the_order_of_the_pool(
    name: str, kind: str, round_: int
) -> None:
    pool, evidence = world(kind, round_)
    turned = Pool(labeled=pool.labeled[::-1], unlabeled=pool.unlabeled[::-1])
    first = build(name).select(pool, 6, evidence, np.random.default_rng(3))
    second = build(name).select(turned, 6, evidence, np.random.default_rng(3))
    assert first.unit_ids == second.unit_ids
    assert dict(first.scores) == dict(second.scores)


def answers() -> dict[str, list[str]]:
    """Every strategy's answer in every setting: to be compared between processes."""
    found = {}
    for name in available():
        for kind in KINDS:
            for round_ in ROUNDS:
                found[f"{name} {kind} {round_}"] = list(choose(name, *world(kind, round_)))
    return found


def test_another_process_gives_the_same_answers_and_no_strategy_imports_torch() -> None:
    code = (
        "import json, sys; from tests.strategies.test_contract import answers; "
        "print(json.dumps([answers(), 'torch' in sys.modules]))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "123"}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, check=True
    )
    theirs, torch_imported = json.loads(run.stdout)
    assert theirs == answers()
    assert not torch_imported


@every
@each_kind
@each_round
def test_units_that_are_all_alike_are_chosen_by_the_seed(name: str, kind: str, round_: int) -> None:
    pool, evidence = alike(*world(kind, round_))
    chosen = {choose(name, pool, evidence, n=2, seed=seed) for seed in range(6)}
    assert len(chosen) > 1
    again = choose(name, pool, evidence, n=2, seed=1)
    assert again == choose(name, pool, evidence, n=2, seed=1)


def alike(pool: Pool, evidence: StandIn) -> tuple[Pool, StandIn]:
    """Every unit with the embedding and the map of the first."""

    def same(table: dict[UnitId, np.ndarray]) -> dict[UnitId, np.ndarray]:
        return dict.fromkeys(table, next(iter(table.values()))) if table else {}

    kept = ("frozen", "tuned", "views", "maps")
    return pool, replace(evidence, **{k: same(dict(getattr(evidence, k))) for k in kept})


@every
@each_kind
def test_more_units_than_there_are_is_refused_with_both_numbers(name: str, kind: str) -> None:
    pool, evidence = world(kind, 0)
    count = len(pool.unlabeled)
    with pytest.raises(ValueError, match=rf"{count + 1}.*{count}"):
        choose(name, pool, evidence, n=count + 1)
    with pytest.raises(ValueError, match="-1"):
        choose(name, pool, evidence, n=-1)


@every
@each_round
def test_no_unit_can_be_asked_for_and_the_scores_still_come(name: str, round_: int) -> None:
    pool, evidence = world("slice", round_)
    answer = build(name).select(pool, 0, evidence, np.random.default_rng(0))
    assert answer.unit_ids == ()
    assert set(answer.scores) == set(pool.unlabeled)


@every
def test_an_empty_pool_gives_an_empty_answer(name: str) -> None:
    _, evidence = world("slice", 0)
    answer = build(name).select(
        Pool(labeled=(), unlabeled=()), 0, evidence, np.random.default_rng(0)
    )
    assert answer.unit_ids == ()
    assert dict(answer.scores) == {}


@every
@each_kind
@each_round
def test_the_whole_pool_can_be_asked_for(name: str, kind: str, round_: int) -> None:
    pool, evidence = world(kind, round_, num_cases=3, num_labeled=2)
    chosen = choose(name, pool, evidence, n=len(pool.unlabeled))
    assert sorted(chosen) == sorted(pool.unlabeled)


@every
@each_kind
@each_round
def test_a_pool_of_one_unit_gives_that_unit(name: str, kind: str, round_: int) -> None:
    pool, evidence = world(kind, round_)
    one = Pool(labeled=pool.labeled, unlabeled=pool.unlabeled[:1])
    assert choose(name, one, evidence, n=1) == one.unlabeled


@every
@each_kind
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_probabilities_of_exactly_0_and_1_are_no_trouble(
    name: str, kind: str, value: float
) -> None:
    pool, evidence = world(kind, 2)
    flat = {}
    for unit, p in evidence.maps.items():
        flat[unit] = np.zeros_like(p)
        flat[unit][0], flat[unit][1] = 1 - value, value
    answer = build(name).select(pool, 4, replace(evidence, maps=flat), np.random.default_rng(0))
    assert np.isfinite(list(answer.scores.values())).all()


@every
def test_a_zero_embedding_is_chosen_last_by_whoever_looks_at_embeddings(name: str) -> None:
    pool, evidence = world("volume", 0)
    blank = pool.unlabeled[3]
    table = {**evidence.frozen, blank: np.zeros(16, dtype=np.float32)}
    asked = replace(evidence, frozen=table, asked=type(evidence.asked)())
    chosen = choose(name, pool, asked, n=len(pool.unlabeled))
    if asked.asked["frozen"]:
        assert chosen[-1] == blank


@every
def test_an_embedding_that_is_not_a_number_is_refused_by_name(name: str) -> None:
    pool, evidence = world("volume", 0)
    table = {**evidence.frozen, pool.unlabeled[3]: np.full(16, np.nan, dtype=np.float32)}
    asked = replace(evidence, frozen=table, asked=type(evidence.asked)())
    if "frozen" in needs(name):
        with pytest.raises(ValueError, match=str(pool.unlabeled[3])):
            choose(name, pool, asked)
    else:
        assert choose(name, pool, asked)


def needs(name: str) -> set[str]:
    """What a strategy asks for in round 0."""
    pool, evidence = world("volume", 0)
    choose(name, pool, evidence)
    return set(evidence.asked)


@every
def test_a_strategy_travels_by_pickle_and_cannot_be_changed(name: str) -> None:
    made = build(name)
    assert isinstance(made, Strategy)
    assert pickle.loads(pickle.dumps(made)) == made
    for item in fields(made):  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            setattr(made, item.name, None)


@every
def test_an_unknown_setting_is_refused_with_the_nearest_name(name: str) -> None:
    names = [item.name for item in fields(build(name))]  # type: ignore[arg-type]
    wrong = f"{names[0]}x" if names else "colour"
    with pytest.raises(ConfigError, match=names[0] if names else wrong):
        build(name, {wrong: 1})


def test_an_unknown_strategy_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="did you mean 'hybrid'"):
        build("hybird")


def test_a_strategy_pays_only_for_what_it_asks() -> None:
    asked = {}
    for name in ("random", "dkd", "asd", "hybrid"):
        for round_ in ROUNDS:
            pool, evidence = world("slice", round_)
            choose(name, pool, evidence)
            asked[name, round_] = set(evidence.asked)
    assert asked["random", 0] == asked["random", 2] == asked["asd", 0] == set()
    assert asked["dkd", 0] == asked["hybrid", 0] == {"frozen", "views", "bank"}
    assert asked["dkd", 2] == {"frozen", "tuned"}
    assert "probabilities" in asked["asd", 2] & asked["hybrid", 2]
    assert "frozen" not in asked["asd", 2]
    assert "views" not in asked["hybrid", 2]


def test_each_map_is_asked_for_once() -> None:
    for name in ("asd", "hybrid"):
        pool, evidence = world("slice", 2)
        choose(name, pool, evidence)
        assert evidence.asked["probabilities"] == len(pool.unlabeled)


def test_best_is_what_asd_and_random_rest_on() -> None:
    scores = {UnitId("a"): 1.0, UnitId("b"): 3.0, UnitId("c"): 2.0}
    assert best(scores, 2, np.random.default_rng(0)).unit_ids == ("b", "c")
