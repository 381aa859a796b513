import numpy as np
import pytest

from salearn.metrics.crossover import budget_p, crossover, first_match_by_chance, readings
from salearn.stats.hierarchical import difference_replicates

BUDGETS = (0.1, 0.25, 0.5, 1.0)
LORA = np.array([0.66, 0.736, 0.77, 0.79])
FULL = np.array([0.61, 0.726, 0.785, 0.815])


def test_the_toy_curves_in_three_readings():
    found = readings(BUDGETS, LORA - FULL)
    assert (found.first, found.last) == (0.10, 0.25)
    assert found.roots == pytest.approx((0.25 * 2**0.4,))
    assert found.roots[0] == pytest.approx(0.3299, abs=1e-4)


def test_a_margin_moves_the_last_match():
    delta = LORA - FULL
    assert readings(BUDGETS, delta, 0.015).last == 0.5
    assert readings(BUDGETS, delta, 0.025).last == 1.0
    assert readings(BUDGETS, np.full(4, -0.1)).first is None
    assert readings(BUDGETS, np.full(4, -0.1)).roots == ()


def test_a_curve_can_cross_more_than_once_and_touch_without_crossing():
    assert len(readings(BUDGETS, np.array([0.1, -0.1, 0.1, -0.1])).roots) == 3
    assert readings(BUDGETS, np.array([0.1, 0.0, 0.1, 0.2])).roots == ()
    assert readings(BUDGETS, np.array([0.1, 0.0, -0.1, -0.2])).roots == (0.25,)


def test_budgets_that_are_none():
    with pytest.raises(ValueError, match="rising"):
        readings((1, 1), np.zeros(2))
    with pytest.raises(ValueError, match="rising"):
        readings((0, 1), np.zeros(2))
    with pytest.raises(ValueError, match="negative"):
        readings(BUDGETS, np.zeros(4), -1)


def study(delta, seeds=5, cases=60, spread=0.03, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.normal(0.8, 0.1, (4, seeds, cases))
    first = base + np.asarray(delta)[:, None, None] + rng.normal(0, spread, base.shape)
    return first, base, list(range(seeds))


def test_a_study_gives_all_readings_with_their_shares():
    first, second, draws = study(LORA - FULL)
    drawn = difference_replicates(first, second, draws, replicates=400)
    delta = (first - second).mean(axis=(1, 2))
    found = crossover(BUDGETS, delta, drawn, seeds=5)
    assert found.supported == 0.25
    assert found.p_superior[0] < 0.05 < found.p_superior[2]
    assert sum(found.last_shares.values()) == pytest.approx(1)
    assert found.modal_last == 0.25
    assert list(found.last_at_least) == sorted(found.last_at_least, reverse=True)
    assert found.root_interval is not None
    assert found.root_interval[0] < found.point.roots[-1] < found.root_interval[1]
    assert found.chance == first_match_by_chance(4) == 0.9375
    assert "Crossover: first 0.1, last 0.25" in found.describe()
    assert "93.75 % of studies" in found.describe()


def test_a_single_seed_is_not_called_a_crossover():
    first, second, draws = study(LORA - FULL, seeds=1)
    drawn = difference_replicates(first, second, draws, replicates=100)
    found = crossover(BUDGETS, (first - second).mean(axis=(1, 2)), drawn, seeds=1)
    assert found.describe().startswith("Point match (one seed: no crossover claim)")


def test_an_arm_that_is_far_worse_matches_nowhere():
    first, second, draws = study([-0.2] * 4)
    drawn = difference_replicates(first, second, draws, replicates=100)
    found = crossover(BUDGETS, np.full(4, -0.2), drawn, seeds=5)
    assert found.supported is None
    assert found.last_shares[None] == 1
    assert (found.root_interval, found.root_share) == (None, 0)
    assert "supported within 0.01: none" in found.describe()


def test_without_a_difference_first_matches_appear_by_chance_and_supported_ones_do_not():
    rng = np.random.default_rng(0)
    first, supported, experiments = 0, 0, 300
    for _ in range(experiments):
        cases = rng.normal(0, 0.1, (4, 40))
        first += readings(BUDGETS, cases.mean(axis=1)).first is not None
        # The same cases with the whole margin lost: no budget is a match.
        weights = rng.multinomial(40, np.full(40, 1 / 40), size=300) / 40
        drawn = weights @ (cases - 0.01).T
        supported += bool((budget_p(drawn, -0.01) <= 0.05).any())
    assert first / experiments == pytest.approx(0.9375, abs=3 * 0.014)
    assert supported / experiments < 0.05 + 3 * 0.0126
