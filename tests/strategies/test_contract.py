"""What every registered strategy owes, for volumes, slices and patches, in round 0 and later.

A new file in strategies/ is picked up by itself. `ORACLE` strategies are held to all of it too.
"""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from salearn.cases import Pool, Selection, UnitId, best, parse_unit, patch_id
from salearn.errors import ConfigError
from strategies.registry import STRATEGIES, Strategy, available, build
from tests.strategies.stand_in import StandIn, world

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("volume", "slice", "patch")
ROUNDS = (0, 2)
SETTINGS = [("volume", 0), *((kind, 2) for kind in KINDS)]  # nothing is trained; all is
WORDS = (
    "random foreground_random entropy margin bald power_ clasp coreset facility typiclust "
    "probcover medoid badge stochastic_batch clue dkd dkd_coverage asd hybrid dcom oracle_loss"
)
GIVEN = {"replay"}  # the order comes from the settings: nothing is left to a seed or a score

every = pytest.mark.parametrize("name", available())
choosing = pytest.mark.parametrize("name", [n for n in available() if n not in GIVEN])


@cache
def small(kind: str, round_: int) -> tuple[Pool, StandIn]:
    """One small world for all strategies; nobody may change it."""
    return world(kind, round_, num_cases=5, num_labeled=3, side=(8, 8, 2))


def worlds() -> Iterator[tuple[Pool, StandIn]]:
    """Cold and trained; what depends on the kind of unit is tested over all SETTINGS."""
    yield small("volume", 0)
    yield small("patch", 2)


def made(name: str, pool: Pool) -> Strategy:
    """The strategy with its default settings, and what it cannot do without."""
    return build(name, {"order": sorted(pool.unlabeled)} if name == "replay" else None)


def ask(name: str, pool: Pool, evidence: StandIn, n: int = 4, seed: int = 0) -> Selection:
    return made(name, pool).select(pool, n, evidence, np.random.default_rng(seed))


def choose(
    name: str, pool: Pool, evidence: StandIn, n: int = 4, seed: int = 0
) -> tuple[UnitId, ...]:
    return ask(name, pool, evidence, n, seed).unit_ids


@cache
def usual(name: str, kind: str, round_: int) -> Selection:
    """What a strategy answers to the usual question."""
    return ask(name, *small(kind, round_))


@cache
def asked_of(name: str, round_: int) -> set[str]:
    """What a strategy asks about every unlabeled unit."""
    pool, evidence = small("volume", round_)
    counted = replace(evidence, asked=Counter())
    choose(name, pool, counted)
    least = {"bank": 1}
    return {q for q, times in counted.asked.items() if times >= least.get(q, len(pool.unlabeled))}


def test_the_strategies_are_registered_by_their_names() -> None:
    for word in WORDS.split():
        assert any(word in name for name in available()), word


def test_strategies_that_are_no_published_method_say_so() -> None:
    rows = {row["name"]: row for row in STRATEGIES.describe()}
    assert all(row["summary"] and row["source"] for row in rows.values())
    own = [n for n in rows if n.startswith(("dkd", "asd", "hybrid"))]
    assert all("reconstruction" in rows[name]["source"] for name in own)


@every
def test_only_marked_strategies_look_at_masks_that_nobody_annotated(name: str) -> None:
    looks = any("audit" in asked_of(name, round_) for round_ in ROUNDS)
    cls = STRATEGIES.cls(name)
    assert looks == getattr(cls, "ORACLE", False)
    if looks:
        assert (cls.__doc__ or "").startswith("ORACLE")
        assert "oracle" in cls.SOURCE


@every
def test_n_distinct_unlabeled_units_come_back_with_everybodys_finite_score(name: str) -> None:
    before = np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]
    for kind, round_ in SETTINGS:
        pool, answer = small(kind, round_)[0], usual(name, kind, round_)
        assert len(answer.unit_ids) == len(set(answer.unit_ids)) == 4
        assert set(answer.unit_ids) <= set(pool.unlabeled)
        assert set(answer.scores) == set(pool.unlabeled)
        assert np.isfinite(list(answer.scores.values())).all()
    assert before == np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]


@every
def test_the_same_seed_gives_the_same_answer_whatever_the_order_of_the_pool(name: str) -> None:
    for kind, round_ in SETTINGS:
        pool, evidence = small(kind, round_)
        turned = Pool(labeled=pool.labeled[::-1], unlabeled=pool.unlabeled[::-1])
        first, second = usual(name, kind, round_), ask(name, turned, evidence)
        assert first.unit_ids == second.unit_ids
        assert dict(first.scores) == dict(second.scores)


@every
def test_higher_scores_are_more_wanted(name: str) -> None:
    for kind, round_ in SETTINGS:
        answer = usual(name, kind, round_)
        chosen = [answer.scores[u] for u in answer.unit_ids]
        rest = [s for u, s in answer.scores.items() if u not in answer.unit_ids]
        assert np.mean(chosen) >= np.mean(rest) - 1e-9
        if hasattr(STRATEGIES.cls(name), "final"):  # the n best, in order
            assert min(chosen) >= max(rest)
            assert chosen == sorted(chosen, reverse=True)


def answers() -> dict[str, list[str]]:
    """Every strategy's answer in every setting: to be compared between processes."""
    return {
        f"{name} {kind} {round_}": list(usual(name, kind, round_).unit_ids)
        for name in available()
        for kind, round_ in SETTINGS
    }


@pytest.mark.slow
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


@choosing
def test_units_that_are_all_alike_are_chosen_by_the_seed(name: str) -> None:
    for kind, round_ in (("volume", 0), ("patch", 2)):
        pool, evidence = small(kind, round_)
        same = alike(evidence)
        chosen = {choose(name, pool, same, n=2, seed=seed) for seed in range(4)}
        assert len(chosen) > 1
        assert choose(name, pool, same, n=2, seed=1) == choose(name, pool, same, n=2, seed=1)


def alike(evidence: StandIn, *kept: str) -> StandIn:
    """Every unit with the embedding and the map of the first."""

    def same(table: dict[UnitId, np.ndarray]) -> dict[UnitId, np.ndarray]:
        return dict.fromkeys(table, next(iter(table.values()))) if table else {}

    tables = [t for t in ("frozen", "tuned", "views", "maps") if t not in kept]
    return replace(evidence, **{t: same(dict(getattr(evidence, t))) for t in tables})


@every
def test_equal_predictions_are_no_trouble(name: str) -> None:
    for kind in ("volume", "slice"):
        pool, evidence = small(kind, 2)
        answer = ask(name, pool, alike(evidence, "frozen", "tuned", "views"))
        assert np.isfinite(list(answer.scores.values())).all()
        assert len(set(answer.unit_ids)) == 4


def twin(unit: UnitId) -> UnitId:
    """The same place in a case whose name ends in b."""
    case = parse_unit(unit)[0]
    return UnitId(unit.replace(case, f"{case}b", 1))


def doubled(pool: Pool, evidence: StandIn) -> tuple[Pool, StandIn]:
    """Every unlabeled unit with an exact copy in another case."""
    tables = {}
    for table in ("frozen", "tuned", "views", "maps"):
        given = dict(getattr(evidence, table))
        tables[table] = given | {twin(u): given[u] for u in pool.unlabeled if u in given}
    units = (*pool.unlabeled, *map(twin, pool.unlabeled))
    return Pool(labeled=pool.labeled, unlabeled=units), replace(evidence, **tables)


@choosing
def test_of_two_copies_the_seed_chooses(name: str) -> None:
    for kind, round_ in (("volume", 0), ("patch", 2)):
        pool, evidence = doubled(*small(kind, round_))
        firsts = [choose(name, pool, evidence, seed=seed)[0] for seed in range(8)]
        assert {parse_unit(u)[0].endswith("b") for u in firsts} == {True, False}
        assert len(set(choose(name, pool, evidence, n=10))) == 10


@every
def test_more_units_than_there_are_is_refused_with_both_numbers(name: str) -> None:
    for pool, evidence in worlds():
        count = len(pool.unlabeled)
        with pytest.raises(ValueError, match=rf"{count + 1}.*{count}"):
            choose(name, pool, evidence, n=count + 1)
        with pytest.raises(ValueError, match="-1"):
            choose(name, pool, evidence, n=-1)


@every
def test_no_unit_and_every_unit_can_be_asked_for(name: str) -> None:
    for pool, evidence in worlds():
        none = ask(name, pool, evidence, n=0)
        assert none.unit_ids == ()
        assert set(none.scores) == set(pool.unlabeled)
        assert sorted(choose(name, pool, evidence, len(pool.unlabeled))) == sorted(pool.unlabeled)


@every
def test_pools_of_one_unit_and_of_none(name: str) -> None:
    for pool, evidence in worlds():
        one = Pool(labeled=pool.labeled, unlabeled=pool.unlabeled[:1])
        assert choose(name, one, evidence, n=1) == one.unlabeled
        empty = ask(name, Pool(labeled=pool.labeled, unlabeled=()), evidence, n=0)
        assert empty.unit_ids == ()
        assert dict(empty.scores) == {}


@every
def test_probabilities_of_exactly_0_and_1_are_no_trouble(name: str) -> None:
    for kind in ("volume", "slice"):
        for value in (0.0, 1.0):
            pool, evidence = small(kind, 2)
            flat = {u: np.zeros_like(p) for u, p in evidence.maps.items()}
            for p in flat.values():
                p[0], p[1] = 1 - value, value
            answer = ask(name, pool, replace(evidence, maps=flat))
            assert np.isfinite(list(answer.scores.values())).all()


@every
def test_a_blank_unit_is_chosen_last_by_whoever_looks_at_embeddings(name: str) -> None:
    for round_, table in ((0, "frozen"), (2, "tuned")):
        pool, evidence = small("volume", round_)
        blank = pool.unlabeled[3]
        vectors = {**getattr(evidence, table), blank: np.zeros(16, dtype=np.float32)}
        if table in asked_of(name, round_):
            chosen = choose(name, pool, replace(evidence, **{table: vectors}), len(pool.unlabeled))
            assert chosen[-1] == blank


@every
def test_an_embedding_that_is_not_a_number_is_refused_by_name(name: str) -> None:
    for round_, table in ((0, "frozen"), (2, "tuned")):
        pool, evidence = small("volume", round_)
        bad = pool.unlabeled[3]
        vectors = {**getattr(evidence, table), bad: np.full(16, np.nan, dtype=np.float32)}
        if table in asked_of(name, round_):
            with pytest.raises(ValueError, match=str(bad)):
                choose(name, pool, replace(evidence, **{table: vectors}))


@every
def test_a_map_that_is_no_probability_is_refused_by_name(name: str) -> None:
    pool, evidence = small("volume", 2)
    bad = pool.unlabeled[3]
    maps = {**evidence.maps, bad: np.full_like(evidence.maps[bad], np.nan)}
    if asked_of(name, 2) & {"probabilities", "views passes", "dropout passes"}:
        with pytest.raises(ValueError, match=str(bad)):
            choose(name, pool, replace(evidence, maps=maps))


@every
def test_a_strategy_travels_by_pickle_and_cannot_be_changed(name: str) -> None:
    one = build(name)
    assert isinstance(one, Strategy)
    assert pickle.loads(pickle.dumps(one)) == one
    for item in fields(one):  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            setattr(one, item.name, None)


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
    asked = {(n, r): asked_of(n, r) for n in ("random", "dkd", "asd", "hybrid") for r in ROUNDS}
    assert asked["random", 0] == asked["random", 2] == asked["asd", 0] == set()
    assert asked["dkd", 0] == asked["hybrid", 0] == {"frozen", "views", "bank"}
    assert asked["dkd", 2] == {"frozen", "tuned"}
    assert "probabilities" in asked["asd", 2] & asked["hybrid", 2]
    assert "frozen" not in asked["asd", 2]
    assert "views" not in asked["hybrid", 2]


@every
def test_each_map_is_asked_for_once(name: str) -> None:
    for kind in ("volume", "slice"):
        pool, evidence = small(kind, 2)
        counted = replace(evidence, asked=Counter())
        choose(name, pool, counted)
        for question in ("probabilities", "views passes", "dropout passes", "audit"):
            assert counted.asked[question] in (0, len(pool.unlabeled))


def test_patches_of_the_stand_in_are_patches() -> None:
    pool, evidence = small("patch", 0)
    unit = patch_id(parse_unit(pool.unlabeled[0])[0], (0, 0, 0), (6, 6, 2))
    assert unit in pool.unlabeled
    assert evidence.extent(unit) == (6, 6, 2)


def test_best_is_what_asd_and_random_rest_on() -> None:
    scores = {UnitId("a"): 1.0, UnitId("b"): 3.0, UnitId("c"): 2.0}
    assert best(scores, 2, np.random.default_rng(0)).unit_ids == ("b", "c")
