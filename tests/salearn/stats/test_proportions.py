import numpy as np
import pytest

from salearn.stats.proportions import mcnemar, mcnemar_counts, mcnemar_p, proportion_interval
from salearn.stats.refuse import RefusedTest

SURVEY = (794, 150, 86, 570)


@pytest.mark.parametrize(
    ("variant", "statistic", "p"),
    [
        ("corrected", 16.81779661, 4.1146e-5),
        ("uncorrected", 17.35593220, 3.0993e-5),
        ("exact", 86, 3.7159e-5),
    ],
)
def test_the_approval_survey(variant, statistic, p):
    found = mcnemar_counts(*SURVEY, unit="patient", variant=variant)
    assert found.statistic == pytest.approx(statistic, abs=1e-8)
    assert found.p_value == pytest.approx(p, abs=1e-9)
    assert (found.n_units, found.note) == (1600, "")


def test_two_against_ten_discordant_pairs():
    assert mcnemar_p(2, 10, "exact") == (2, 0.03857421875)
    assert mcnemar_p(2, 10, "mid-p")[1] == pytest.approx(0.0224609375, abs=1e-15)
    assert mcnemar_p(2, 10, "corrected") == pytest.approx((4.083333, 0.0433081), abs=1e-6)
    rough = mcnemar_counts(5, 2, 10, 3, unit="patient", variant="corrected")
    assert "below 25 discordant" in rough.note


def test_from_successes_with_effects_by_hand():
    first = np.array([True] * 6 + [False] * 4)
    second = np.array([True] * 3 + [False] * 3 + [True] + [False] * 3)
    found = mcnemar(first, second, unit="patient")
    assert (found.details["gained"], found.details["lost"]) == (3, 1)
    assert found.p_value == pytest.approx(2 * (1 + 4) / 16)
    assert found.estimate == pytest.approx(0.2)
    assert found.details["cohen_g"] == pytest.approx(0.25)
    # 1/2 added to each cell: (3.5 - 1.5)/12 -+ 1.96 sqrt((5/12 - (2/12)^2)/12)
    reach = 1.959964 * ((5 / 12 - 1 / 36) / 12) ** 0.5
    assert found.interval == pytest.approx((1 / 6 - reach, 1 / 6 + reach), abs=1e-6)


def test_four_discordant_pairs_can_never_be_significant():
    found = mcnemar_counts(6, 4, 0, 0, unit="patient")
    assert found.p_value == found.floor == 0.125
    assert "Cannot be significant" in found.note
    assert mcnemar_counts(6, 6, 0, 0, unit="patient").note == ""
    assert mcnemar_counts(9, 0, 0, 1, unit="patient").p_value == 1
    assert mcnemar_p(3, 3, "mid-p")[1] == pytest.approx(1)


def test_pixel_mcnemar_is_refused():
    with pytest.raises(RefusedTest, match="McNemar's test over pixels is refused"):
        mcnemar(np.ones(4, bool), np.zeros(4, bool), unit="pixel")
    with pytest.raises(RefusedTest, match="at least 1"):
        mcnemar_counts(0, 0, 0, 0, unit="patient")


@pytest.mark.parametrize(
    ("counts", "wilson", "exact"),
    [
        ((9, 10), (0.595850, 0.982124), (0.554984, 0.997471)),
        ((0, 12), (0, 0.242494), (0, 0.264648)),
    ],
)
def test_intervals_of_one_proportion(counts, wilson, exact):
    assert proportion_interval(*counts) == pytest.approx(wilson, abs=1e-6)
    assert proportion_interval(*counts, method="exact") == pytest.approx(exact, abs=1e-6)
    with pytest.raises(ValueError, match="no proportion"):
        proportion_interval(3, 2)
