import math

import numpy as np
import pytest

from salearn.stats.equivalence import non_inferior, tost
from salearn.stats.refuse import RefusedTest

GAPS = np.array([0.012, -0.004, 0.006, 0, -0.002, 0.009, 0.003, -0.001])


def test_eight_differences_are_equivalent_within_a_hundredth():
    found = tost(GAPS, unit="case")
    assert found.estimate == pytest.approx(0.002875)
    assert found.interval == pytest.approx((-0.000922, 0.006672), abs=1e-6)
    assert found.p_value < 0.05
    assert "; equivalent" in found.note


def test_the_interval_and_the_p_value_say_the_same():
    for margin in (0.0066, 0.0067):
        found = tost(GAPS, unit="case", margin=margin)
        assert (found.p_value < 0.05) == (found.interval[1] < margin)
    assert "not shown" in tost(GAPS, unit="case", margin=0.006).note


def test_statsmodels_agrees():
    weight = pytest.importorskip("statsmodels.stats.weightstats")
    p, above, below = weight.ttost_paired(GAPS, np.zeros(8), -0.01, 0.01)
    found = tost(GAPS, unit="case")
    assert found.p_value == pytest.approx(p)
    assert found.details["p_above_minus_margin"] == pytest.approx(above[1])
    assert found.details["p_below_margin"] == pytest.approx(below[1])


def test_non_inferiority_is_one_side_of_it():
    found = non_inferior(GAPS, unit="case")
    assert found.p_value == pytest.approx(tost(GAPS, unit="case").details["p_above_minus_margin"])
    assert found.interval == (pytest.approx(-0.000922, abs=1e-6), math.inf)
    assert non_inferior(GAPS, unit="case", margin=0).p_value == pytest.approx(0.0971, abs=1e-3)


def test_equal_differences_have_no_spread():
    assert tost(np.full(4, 0.004), unit="case").p_value == 0
    assert tost(np.full(4, 0.02), unit="case").p_value == 1


def test_what_cannot_be_tested():
    with pytest.raises(ValueError, match="positive"):
        tost(GAPS, unit="case", margin=0)
    with pytest.raises(ValueError, match="negative"):
        non_inferior(GAPS, unit="case", margin=-1)
    with pytest.raises(ValueError, match="finite"):
        tost(np.array([1.0, np.inf]), unit="case")
    with pytest.raises(RefusedTest):
        tost(GAPS, unit="slice")
    with pytest.raises(RefusedTest, match="at least 2"):
        tost(GAPS[:1], unit="case")
