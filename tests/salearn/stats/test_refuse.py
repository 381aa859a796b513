import pytest

from salearn.stats.refuse import (
    INSIDE,
    RefusedTest,
    check_enough,
    check_unit,
    label_hopeless,
    pairs_needed,
    sign_flip_floor,
)
from salearn.stats.result import Result, tail


def result(floor=0.0, note=""):
    return Result(
        name="t", statistic=1.0, p_value=0.5, n_units=5, unit="seed", floor=floor, note=note
    )


@pytest.mark.parametrize("unit", INSIDE)
def test_parts_of_an_image_are_no_units(unit):
    with pytest.raises(RefusedTest, match=r"not independent.*docs/statistics.md"):
        check_unit("Wilcoxon", unit)


def test_an_unknown_unit_gets_the_nearest_name():
    check_unit("Wilcoxon", "patient")
    with pytest.raises(ValueError, match="did you mean 'patient'"):
        check_unit("Wilcoxon", "patients")


def test_floors_of_sign_flip_tests():
    assert [sign_flip_floor(n) for n in (0, 1, 3, 5, 6, 10)] == [1, 1, 0.25, 0.0625, 0.03125, 2**-9]
    assert pairs_needed() == 6
    assert pairs_needed(0.05, comparisons=4) == 8  # 2^-7 = .0078 < .0125 < 2^-6


def test_a_hopeless_test_says_so():
    assert label_hopeless(result(0.0625)).note == (
        "Cannot be significant: the smallest p-value that 5 seeds can give is 0.0625, more than "
        "0.05."
    )
    assert label_hopeless(result(0.03)).note == ""
    assert "0.05/2" in label_hopeless(result(0.03), comparisons=2).note


def test_too_few_units_are_refused():
    with pytest.raises(RefusedTest, match="needs at least 3 arms, got 2"):
        check_enough("Friedman", 2, 3, "arm")


def test_a_result_as_a_row():
    found = Result(
        name="t", statistic=1.0, p_value=0.2, n_units=3, unit="case", interval=(0.1, 0.4),
        details={"df": 2.0},
    )  # fmt: skip
    row = found.noted("One.", "Two.").as_row()
    assert (row["low"], row["high"], row["df"]) == (0.1, 0.4, 2)
    assert row["note"] == "One. Two."
    assert result().as_row()["low"] != result().as_row()["low"]  # NaN


def test_tails():
    assert tail("two-sided", 0.9, 0.2) == 0.4
    assert tail("greater", 0.9, 0.2) == 0.2
    assert tail("less", 0.9, 0.2) == 0.9
