"""DKD: its product by hand, its gap modes, and a small toy of contexts with outliers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from salearn.cases import Pool, UnitId
from salearn.errors import ConfigError
from strategies.divergence import survey
from strategies.dkd import Dkd
from strategies.dkd_coverage import DkdCoverage
from strategies.random_sampling import RandomSampling
from tests.strategies.stand_in import StandIn, unit_length, world


def plane(*degrees: float) -> np.ndarray:
    angle = np.deg2rad(degrees)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def table(names: str, vectors: np.ndarray) -> dict[UnitId, np.ndarray]:
    return {UnitId(name): v for name, v in zip(names, vectors, strict=True)}


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_product_by_hand() -> None:
    """Unlabeled a, b, c at 0, 60 and 120 degrees, one labeled unit L at 0; round 1, drift."""
    frozen = table("abcL", plane(0, 60, 120, 0))
    # zt = z0 turned by 10, 30, 20 degrees: the gap ranks a < c < b, g = 0, 1, 1/2
    tuned = table("abcL", plane(10, 90, 140, 0))
    evidence = StandIn(frozen=frozen, tuned=tuned, round=1, adapted=True)
    pool = Pool(labeled=(UnitId("L"),), unlabeled=(UnitId("a"), UnitId("b"), UnitId("c")))
    made = Dkd(gate=0, gamma=1)
    seen = survey(pool, evidence, made)
    assert seen.gap.tolist() == [0, 1, 0.5]
    # rho = mean cosine to the two others of the tuned rows (10, 90, 140 degrees):
    # a: (cos 80 + cos 130) / 2 < 0; b: (cos 80 + cos 50) / 2; c: (cos 130 + cos 50) / 2 = 0
    assert seen.rho.tolist() == [0, 1, 0.5]
    answer = made.select(pool, 2, evidence, rng())
    # b: (0.2 + 0.8 * 1) * (1 - cos 90) / 2 * 1 = 0.5; c: 0.6 * (1 - cos 140) / 2 * 0.5 = 0.265
    assert answer.unit_ids == ("b", "c")
    assert answer.scores[UnitId("b")] == pytest.approx(0.5, abs=1e-5)
    # c when picked: nearest is now b at 50 degrees: (0.2 + 0.4) * (1 - 0.642788) / 2 * 0.5
    assert answer.scores[UnitId("c")] == pytest.approx(0.6 * 0.178606 * 0.5, abs=1e-5)
    assert answer.scores[UnitId("a")] == 0.0  # rho of a is 0


def test_the_gap_is_drift_once_adapted_then_bank_then_stability() -> None:
    pool, cold = world("slice", 0)
    bank = unit_length(np.random.default_rng(1).standard_normal((50, 16)))
    _, warm = world("slice", 2)
    for evidence, kind in (
        (cold, "views"),
        (replace(cold, bank=bank), None),
        (replace(warm, bank=bank), "tuned"),
    ):
        evidence.asked.clear()
        Dkd().select(pool, 2, evidence, rng())
        assert {"views", "tuned"} & set(evidence.asked) == ({kind} if kind else set())


def test_in_round_0_an_adapted_encoder_is_not_looked_at() -> None:
    pool, evidence = world("slice", 2)
    Dkd().select(pool, 2, replace(evidence, round=0), rng())
    assert "tuned" not in evidence.asked
    assert "views" in evidence.asked


def test_without_a_gap_dkd_is_pure_diversity(caplog: pytest.LogCaptureFixture) -> None:
    pool, evidence = world("slice", 0)
    with caplog.at_level("INFO"):
        answer = Dkd(gap="none", gamma=0, gate=0).select(pool, 1, evidence, rng())
    assert answer.scores[answer.unit_ids[0]] == 1.0  # v = 1, g = 1
    assert "knowledge gap: none" in caplog.text


@pytest.mark.parametrize(("gap", "word"), [("drift", "fine-tuned"), ("bank", "reference bank")])
def test_a_gap_mode_that_cannot_be_had_is_refused(gap: str, word: str) -> None:
    pool, evidence = world("slice", 0)
    with pytest.raises(ConfigError, match=word):
        Dkd(gap=gap).select(pool, 1, evidence, rng())  # type: ignore[arg-type]


def test_a_supervised_run_without_an_adapted_encoder_stays_with_the_frozen_one() -> None:
    pool, evidence = world("slice", 2)
    plain = replace(evidence, adapted=False, tuned={})
    assert len(Dkd().select(pool, 3, plain, rng()).unit_ids) == 3


def test_duplicates_are_not_both_picked_while_others_are_left() -> None:
    vectors = np.repeat(unit_length(rng().standard_normal((10, 8))), 2, axis=0)
    names = [UnitId(f"u{i:02d}") for i in range(20)]
    frozen = dict(zip(names, vectors, strict=True))
    evidence = StandIn(frozen=frozen, views={u: v[None] for u, v in frozen.items()})
    pool = Pool(labeled=(), unlabeled=tuple(names))
    picks = Dkd(gate=0, gamma=0).select(pool, 10, evidence, rng()).unit_ids
    assert len({int(u[1:]) // 2 for u in picks}) == 10


def toy(seed: int) -> tuple[Pool, StandIn, dict[UnitId, int]]:
    """1500 units in 24 contexts of Zipf frequency, 3 % outliers (context -1) in odd directions."""
    draw = np.random.default_rng(seed)
    share = 1 / np.arange(1, 25)
    context = draw.choice(24, size=1500, p=share / share.sum())
    context[:45] = -1
    centres = unit_length(draw.standard_normal((24, 32)))
    z = unit_length(centres[context] + 0.08 * draw.standard_normal((1500, 32)))
    z[:45] = unit_length(draw.standard_normal((45, 32)))
    names = [UnitId(f"u{i:04d}") for i in draw.permutation(1500)]
    gap = draw.uniform(0.05, 0.3, 25)[context]  # contexts differ in how strange they are
    views = unit_length(z[:, None] + gap[:, None, None] * draw.standard_normal((1500, 4, 32)))
    evidence = StandIn(
        frozen=dict(zip(names, z, strict=True)), views=dict(zip(names, views, strict=True))
    )
    where = dict(zip(names, context.tolist(), strict=True))
    return Pool(labeled=(), unlabeled=tuple(names)), evidence, where


def covered_and_outliers(picks: tuple[UnitId, ...], where: dict[UnitId, int]) -> tuple[int, int]:
    contexts = [where[u] for u in picks]
    return len(set(contexts) - {-1}), contexts.count(-1)


def test_the_gate_removes_planted_outliers_that_an_ungated_rule_picks() -> None:
    for seed in range(2):
        pool, evidence, where = toy(seed)
        picks = {
            gate: Dkd(gate=gate, gamma=0).select(pool, 20, evidence, rng()).unit_ids
            for gate in (0.05, 0.0)
        }
        assert covered_and_outliers(picks[0.05], where)[1] == 0
        assert covered_and_outliers(picks[0.0], where)[1] >= 4


@pytest.mark.slow
def test_dkd_covers_more_contexts_than_random_at_equal_budget() -> None:
    for seed in range(2):
        pool, evidence, where = toy(seed)
        ours = [
            covered_and_outliers(made.select(pool, 24, evidence, rng()).unit_ids, where)[0]
            for made in (Dkd(gamma=0), DkdCoverage())
        ]
        luck = [
            covered_and_outliers(
                RandomSampling().select(pool, 24, evidence, np.random.default_rng(k)).unit_ids,
                where,
            )[0]
            for k in range(5)
        ]
        assert min(ours) > max(luck)


def test_noise_is_off_by_default_and_changes_the_answer_when_on() -> None:
    pool, evidence = world("slice", 0)
    quiet = [Dkd().select(pool, 4, evidence, np.random.default_rng(s)).unit_ids for s in (0, 1)]
    loud = Dkd(noise=True).select(pool, 4, evidence, np.random.default_rng(0)).unit_ids
    assert quiet[0] == quiet[1] != loud
    with pytest.raises(ConfigError, match="noise_beta"):
        Dkd(noise=True, noise_beta=(0.0, 1.0)).select(pool, 1, evidence, rng())
