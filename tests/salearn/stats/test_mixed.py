import sys

import numpy as np
import pytest

from salearn.errors import ConfigError
from salearn.stats.components import Components, components, crossed_t_test
from salearn.stats.mixed import mixed_model
from salearn.stats.power import simulate
from salearn.stats.refuse import RefusedTest

PARTS = Components(case=0.06, draw=0.03, train=0, residual=0.02)
DRAWS = [0, 1, 2, 3, 4]
TABLE = simulate(0.05, PARTS, cases=14, draws=5, rng=np.random.default_rng(1))


def test_a_balanced_table_has_the_estimates_of_the_analysis_of_variance():
    pytest.importorskip("statsmodels")
    found, plain = mixed_model(TABLE, DRAWS), components(TABLE, DRAWS)
    assert found.estimate == pytest.approx(TABLE.mean())
    assert found.details["sd_case"] == pytest.approx(plain.case, rel=0.01)
    assert found.details["sd_draw"] == pytest.approx(plain.draw, rel=0.01)
    assert found.details["sd_residual"] == pytest.approx(plain.residual, rel=0.01)
    error = crossed_t_test(TABLE, DRAWS).details["standard_error"]
    assert found.details["standard_error"] == pytest.approx(error, rel=0.01)
    assert "5 draw seeds" in found.note


def test_missing_cells_and_uneven_draws_are_taken():
    pytest.importorskip("statsmodels")
    table = np.concatenate([TABLE, TABLE[:1] + 0.01])
    table[0, :3] = np.nan
    found = mixed_model(table, [0, 1, 2, 3, 4, 0])
    assert found.estimate == pytest.approx(np.nanmean(table), abs=0.01)
    assert "sd_train" in found.details


def test_without_statsmodels_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.formula.api", None)
    with pytest.raises(ConfigError, match="pip install statsmodels"):
        mixed_model(TABLE, DRAWS)


def test_one_run_is_refused():
    with pytest.raises(RefusedTest, match="2 runs"):
        mixed_model(TABLE[:1], [0])
