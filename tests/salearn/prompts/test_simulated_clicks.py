"""Clicks: the maximum of the distance transform of the larger error, by hand and by brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.prompts.clicks import depth, first_points, next_click
from salearn.prompts.geometry import Click


def block(
    rows: tuple[int, int], columns: tuple[int, int], shape: tuple[int, int] = (9, 9)
) -> np.ndarray:
    mask = np.zeros(shape, bool)
    mask[rows[0] : rows[1], columns[0] : columns[1]] = True
    return mask


def test_the_first_click_is_the_middle_of_what_was_missed() -> None:
    # A 5 x 5 block, rows and columns 2..6: the middle (4, 4) is 3 away from the nearest background.
    object_ = block((2, 7), (2, 7))
    assert depth(object_)[4, 4] == 3
    assert next_click(np.zeros((9, 9), bool), object_) == Click(4, 4, positive=True)


def test_too_much_of_a_larger_area_gets_a_negative_click() -> None:
    # Missed: a 2 x 2 block, 4 pixels. Too much: 3 x 3, 9 pixels, middle (6, 6).
    reference, answer = block((0, 2), (0, 2)), block((5, 8), (5, 8))
    assert next_click(answer, reference) == Click(6, 6, positive=False)


def test_area_and_depth_disagree_about_a_long_thin_error() -> None:
    # Missed: a bar of 1 x 9 = 9 pixels, depth 1. Too much: 2 x 3 = 6 pixels, depth 1; 3 x 3 would
    # have depth 2. So by area the bar is clicked, by depth the 3 x 3 block of... 8 pixels.
    reference, answer = block((0, 1), (0, 9)), block((4, 7), (4, 7))
    answer[4, 4] = False  # 8 pixels, and (5, 5) is sqrt(2) from the corner that is gone
    assert next_click(answer, reference, larger="area") == Click(0, 0, positive=True)
    # (5, 5): nearest background (4, 4) at sqrt(2); (6, 6), (5, 6), ...: 1.
    assert next_click(answer, reference, larger="depth") == Click(5, 5, positive=False)


def test_a_tie_goes_to_what_was_missed() -> None:
    reference, answer = block((0, 2), (0, 2)), block((5, 7), (5, 7))
    click = next_click(answer, reference)
    assert click is not None
    assert click.positive


def test_a_pixel_is_not_clicked_twice_and_at_last_there_is_nothing_left() -> None:
    reference = block((3, 4), (3, 5))  # two pixels, both of depth 1
    nothing = np.zeros((9, 9), bool)
    first = next_click(nothing, reference)
    second = next_click(nothing, reference, [Click(3, 3)])
    assert (first, second) == (Click(3, 3), Click(3, 4))
    assert next_click(nothing, reference, [Click(3, 3), Click(3, 4)]) is None
    assert next_click(reference, reference) is None


def test_what_nobody_annotated_is_no_error() -> None:
    answer, known = block((0, 9), (0, 5)), block((0, 9), (5, 9))
    assert next_click(answer, np.zeros((9, 9), bool), known=known) is None


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_the_click_is_the_pixel_farthest_from_what_is_right(seed: int) -> None:
    rng = np.random.default_rng(seed)
    reference, answer = rng.random((7, 6)) < 0.6, rng.random((7, 6)) < 0.4
    click = next_click(answer, reference)
    missed, extra = reference & ~answer, answer & ~reference
    if click is None:
        assert not missed.any()
        assert not extra.any()
        return
    region = missed if missed.sum() >= extra.sum() else extra
    assert click.positive == (region is missed)
    outside = [
        (r, c) for r in range(-1, 8) for c in range(-1, 7)
        if not (0 <= r < 7 and 0 <= c < 6) or not region[r, c]
    ]  # fmt: skip
    far = {
        (int(r), int(c)): min(np.hypot(r - y, c - x) for y, x in outside)
        for r, c in np.argwhere(region)
    }
    assert far[click.row, click.column] == pytest.approx(max(far.values()))


def test_points_lie_deep_inside_and_what_is_not_prompted_is_not_asked_for() -> None:
    mask = block((0, 5), (0, 5), (20, 20)) | block((10, 13), (10, 13), (20, 20))
    mask |= block((18, 19), (0, 1), (20, 20))
    clicks, target = first_points(mask, 2, 3, np.random.default_rng(0))
    # One point in each of the two largest parts; both have one deepest pixel, which is all of
    # the top 10 % (25 pixels: the 90 % quantile of the depths 1 x16, 2 x8, 3 x1 is 2).
    assert len(clicks) == 2
    assert all(click.positive for click in clicks)
    assert depth(block((0, 5), (0, 5)))[clicks[0].row, clicks[0].column] >= 2
    assert clicks[1] == Click(11, 11)
    assert target.sum() == 25 + 9


def test_no_more_points_than_pixels() -> None:
    mask = block((2, 3), (2, 4))
    clicks, target = first_points(mask, 5, 3, np.random.default_rng(0))
    assert {(c.row, c.column) for c in clicks} == {(2, 2), (2, 3)}
    assert (target == mask).all()
    assert first_points(np.zeros((4, 4), bool), 5, 3, np.random.default_rng(0))[0] == ()
