import numpy as np
import pytest

from salearn.stats.multiplicity import adjust, benjamini_hochberg, bonferroni, family, holm
from salearn.stats.result import Result
from salearn.stats.signed_rank import wilcoxon

P = np.array([0.01, 0.02, 0.03, 0.005, 0.04, 0.2])


def test_six_p_values_by_hand():
    assert bonferroni(P) == pytest.approx([0.06, 0.12, 0.18, 0.03, 0.24, 1])
    assert holm(P) == pytest.approx([0.05, 0.08, 0.09, 0.03, 0.09, 0.2])
    assert benjamini_hochberg(P) == pytest.approx([0.03, 0.04, 0.045, 0.03, 0.048, 0.2])


@pytest.mark.parametrize("method", ["holm", "bonferroni", "bh"])
def test_statsmodels_agrees(method):
    multi = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(0, 0.3, 25)
    name = {"bh": "fdr_bh"}.get(method, method)
    assert adjust(p, method) == pytest.approx(multi.multipletests(p, method=name)[1])


def test_a_test_that_was_not_made_is_not_in_the_family():
    found = adjust(np.array([0.01, np.nan, 0.04]))
    assert found[[0, 2]] == pytest.approx([0.02, 0.04])
    assert np.isnan(found[1])
    assert len(benjamini_hochberg(np.zeros(0))) == 0
    with pytest.raises(ValueError, match=r"0\.\.1"):
        adjust(np.array([1.2]))


def test_a_family_adjusts_its_results():
    rows = [Result(name="t", statistic=0.0, p_value=float(p), n_units=40, unit="case") for p in P]
    found = family(rows)
    assert [row.details["p_holm"] for row in found] == pytest.approx(holm(P))
    assert [row.details["p_bonferroni"] for row in found] == pytest.approx(bonferroni(P))


def test_seven_volumes_and_four_comparisons_cannot_be_significant():
    # The smallest p of 7 pairs, 2^-6 = .0156, is above .05/4 = .0125.
    one = wilcoxon(np.arange(1.0, 8), unit="case")
    assert one.note == ""
    found = family([one] * 4)
    assert all("0.01562, more than 0.05/4" in row.note for row in found)
    hopeless = family([wilcoxon(np.arange(1.0, 6), unit="case")] * 4)[0]
    assert hopeless.note.count("Cannot be significant") == 1
