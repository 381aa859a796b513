import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.motion.runs import fill_gaps, keep_runs, longest_run


def bits(text: str) -> np.ndarray:
    return np.array([c == "1" for c in text])[:, None]


def text(on: np.ndarray) -> str:
    return "".join("1" if value else "0" for value in on[:, 0])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("1100000001", "1100000001"),  # the run of 3 goes over the end
        ("0100111010", "0000111000"),
        ("0000100000", "0000000000"),
        ("1010101010", "0000000000"),
        ("1111111111", "1111111111"),
        ("0000000000", "0000000000"),
    ],
)
def test_opening_gives_the_vectors_of_the_reference(before: str, after: str) -> None:
    assert text(keep_runs(bits(before), 3, cyclic=True)) == after


def test_closing_first_gives_the_vectors_of_the_reference() -> None:
    closed = fill_gaps(bits("0100111010"), 1, cyclic=True)
    assert text(closed) == "0100111110"
    assert text(keep_runs(closed, 3, cyclic=True)) == "0000111110"
    # Alternating flicker becomes structure, which is why the default gap is 0.
    assert text(fill_gaps(bits("1010101010"), 1, cyclic=True)) == "1111111111"


def test_on_a_line_the_ends_are_no_neighbours() -> None:
    assert text(keep_runs(bits("1100000001"), 3, cyclic=False)) == "0000000000"
    assert text(keep_runs(bits("1100000001"), 2, cyclic=False)) == "1100000000"
    assert text(fill_gaps(bits("0111011100"), 2, cyclic=False)) == "0111111100"


def test_lengths_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="4 phases: there are 3"):
        keep_runs(bits("110"), 4, cyclic=True)
    with pytest.raises(ValueError, match="gaps of 3"):
        fill_gaps(bits("110"), 3, cyclic=True)


def slow_runs(on: list[bool], length: int, cyclic: bool) -> list[bool]:
    """Walk along every run, the plain way."""
    n = len(on)
    if all(on):
        return list(on)
    kept = [False] * n
    for start in range(n):
        window = [(start + i) % n if cyclic else start + i for i in range(length)]
        if all(i < n and on[i] for i in window):
            for i in window:
                kept[i] = True
    return kept


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.booleans(), min_size=2, max_size=9), st.integers(1, 9), st.booleans())
def test_opening_equals_walking_along_the_runs(on: list[bool], length: int, cyclic: bool) -> None:
    length = min(length, len(on))
    found = keep_runs(np.array(on)[:, None], length, cyclic)
    assert found[:, 0].tolist() == slow_runs(on, length, cyclic)


def test_the_table_of_patterns_gives_what_the_plain_rule_gives() -> None:
    on = np.random.default_rng(0).random((6, 4096)) < 0.6
    for cyclic in (True, False):
        whole = keep_runs(on, 3, cyclic), fill_gaps(on, 1, cyclic)
        parts = [
            np.concatenate([rule(on[:, i : i + 32], n, cyclic) for i in range(0, 4096, 32)], axis=1)
            for rule, n in ((keep_runs, 3), (fill_gaps, 1))
        ]
        assert (whole[0] == parts[0]).all()
        assert (whole[1] == parts[1]).all()


def test_longest_runs_are_counted_over_the_end_only_on_a_circle() -> None:
    on = np.concatenate([bits("1100000001"), bits("1111111111"), bits("0000000000")], axis=1)
    assert longest_run(on, cyclic=True).tolist() == [3, 10, 0]
    assert longest_run(on, cyclic=False).tolist() == [2, 10, 0]


@pytest.mark.parametrize(
    ("power", "run", "lost"),
    [(1, 2, 1.4), (1, 3, 1.4), (2, 2, 2.7), (2, 3, 2.7), (3, 2, 3.9), (3, 3, 3.9),
     (1, 4, 5.2), (2, 4, 8.6), (3, 4, 10.8)],
)  # fmt: skip
def test_the_voxel_form_loses_what_the_reference_predicts(
    power: int, run: int, lost: float
) -> None:
    # An edge moved by 15 mm cos^2n(pi k / 10): voxel v (0.1 mm) is on in phase k if it is below.
    moved = 15 * np.cos(np.pi * np.arange(10) / 10) ** (2 * power)
    depth = np.arange(0, 200) * 0.1
    on = depth[None] < moved[:, None]
    kept = keep_runs(on, run, cyclic=True)
    reach = [float(depth[mask.any(axis=0)].max()) for mask in (on, kept)]
    assert reach[0] - reach[1] == pytest.approx(lost, abs=0.11)
