import math

import numpy as np
import pytest

from salearn.stats.components import Components
from salearn.stats.power import (
    WILCOXON_EFFICIENCY,
    cases_needed,
    crossed_p,
    detectable,
    plan,
    power,
    seeds_needed,
    simulated_power,
    t_power,
    wilcoxon_p,
)

PARTS = Components(case=0.05, draw=0.01, train=0.0, residual=0.02)
ONE = Components(case=1.0, draw=0, train=0, residual=0)


@pytest.mark.parametrize(("effect", "cases"), [(0.5, 34), (0.2, 199), (0.8, 15)])
def test_the_textbook_numbers_of_pairs_at_80_percent(effect, cases):
    # G*Power and R's power.t.test(type = "paired"): 34 pairs for d_z = .5, 199 for .2, 15 for .8.
    assert cases_needed(effect, ONE) == cases
    wilcoxon_cases = cases_needed(effect, ONE, efficiency=WILCOXON_EFFICIENCY)
    assert wilcoxon_cases == math.ceil(cases * math.pi / 3)


def test_statsmodels_agrees():
    weights = pytest.importorskip("statsmodels.stats.power")
    for n in (5, 34, 120):
        theirs = weights.TTestPower().power(0.4, nobs=n, alpha=0.05)
        assert power(0.4, ONE, cases=n) == pytest.approx(theirs, abs=1e-9)


def test_the_power_of_no_difference_is_alpha_and_grows_from_there():
    assert power(0.0, PARTS, cases=40, draws=3) == pytest.approx(0.05)
    found = [power(d, PARTS, cases=40, draws=3) for d in (0.01, 0.03, 0.1, 10)]
    assert found == sorted(found)
    assert found[-1] == 1
    assert t_power(50, 3) == 1
    assert power(0.1, Components(case=0, draw=0, train=0, residual=0), cases=5) == 1


@pytest.mark.parametrize(("draws", "trains"), [(1, 1), (6, 1), (3, 2)])
def test_the_closed_form_is_the_simulated_power_of_its_test(draws, trains):
    parts = Components(case=0.05, draw=0.02, train=0.01, residual=0.03)
    size = {"cases": 30, "draws": draws, "trains": trains}
    seen = Components(case=0.05, draw=0, train=0, residual=0.03) if draws == 1 else parts
    share, error = simulated_power(0.03, seen, **size, experiments=300)
    # Satterthwaite's degrees of freedom at the expected mean squares are an approximation.
    assert power(0.03, parts, **size) == pytest.approx(share, abs=3 * error + 0.05)


def test_wilcoxon_costs_little_power():
    size = {"cases": 40, "experiments": 150}
    plain, error = simulated_power(0.5, ONE, **size, test=crossed_p)
    ranks, _ = simulated_power(0.5, ONE, **size, test=wilcoxon_p)
    assert plain - 0.15 < ranks < plain + 2 * error


def test_more_cases_cannot_replace_seeds():
    noisy = Components(case=0.05, draw=0.05, train=0, residual=0.01)
    assert cases_needed(0.02, noisy, draws=3) is None
    needed = cases_needed(0.02, PARTS, draws=5)
    assert needed is not None
    assert power(0.02, PARTS, cases=needed, draws=5) >= 0.8
    assert power(0.02, PARTS, cases=needed - 1, draws=5) < 0.8
    seeds = seeds_needed(0.02, noisy, cases=100)
    assert seeds is not None
    assert power(0.02, noisy, cases=100, draws=seeds) >= 0.8
    assert power(0.02, noisy, cases=100, draws=seeds - 1) < 0.8
    assert seeds_needed(0.02, noisy, cases=2, most=5) is None


def test_a_plan_lists_cases_by_seeds():
    rows = plan(0.02, PARTS, draws=(2, 5, 10))
    assert [row["draws"] for row in rows] == [2, 5, 10]
    assert rows[0]["cases"] is None  # two seeds: 12.7 standard errors are needed
    assert rows[1]["cases"] > rows[2]["cases"]


def test_the_detectable_difference_has_the_wanted_power():
    found = detectable(PARTS, cases=40, draws=5)
    assert power(found, PARTS, cases=40, draws=5) == pytest.approx(0.8)
    assert detectable(Components(case=0, draw=0, train=0, residual=0), cases=4) == 0


def test_designs_that_are_none():
    with pytest.raises(ValueError, match="2 cases"):
        power(0.1, PARTS, cases=1)
    with pytest.raises(ValueError, match="equivalence"):
        cases_needed(0, PARTS)


def test_simulations_are_repeatable():
    rows = [simulated_power(0.02, PARTS, cases=10, draws=2, experiments=50) for _ in range(2)]
    assert rows[0] == rows[1]
    assert np.isfinite(rows[0]).all()
