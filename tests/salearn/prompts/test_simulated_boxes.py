"""Boxes: tight ones by hand, jitter that only moves outward and never too far."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.errors import ConfigError
from salearn.prompts.boxes import components, jitter_box, simulated_boxes, tight_box
from salearn.prompts.geometry import Box


def mask(*pixels: tuple[int, int], shape: tuple[int, int] = (8, 10)) -> np.ndarray:
    found = np.zeros(shape, bool)
    for row, column in pixels:
        found[row, column] = True
    return found


def test_the_box_of_one_pixel_has_sides_of_one() -> None:
    assert tight_box(mask((2, 3))) == Box(2, 3, 3, 4)


def test_a_tight_box_ends_after_the_last_pixel() -> None:
    # Rows 1..4 and columns 2..7 are occupied, so the edges are 1, 5 and 2, 8.
    box = tight_box(mask((1, 5), (4, 2), (3, 7)))
    assert box == Box(1, 2, 5, 8)
    assert (box.height, box.width) == (4, 6)


def test_an_empty_mask_has_no_box() -> None:
    with pytest.raises(ValueError, match="empty"):
        tight_box(mask())
    assert simulated_boxes(mask(), 0.1, 3, np.random.default_rng(0)) == ()


class Halves(np.random.Generator):
    """A generator whose numbers are all 0.5."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def random(self, size: int) -> np.ndarray:
        return np.full(size, 0.5)


def test_jitter_by_hand() -> None:
    # Height 4, width 6, share 0.1, all draws 0.5: top and bottom move by 0.1 * 0.5 * 4 = 0.2,
    # left and right by 0.1 * 0.5 * 6 = 0.3.
    box = jitter_box(Box(1, 2, 5, 8), 0.1, (8, 10), Halves())
    assert [box.top, box.left, box.bottom, box.right] == pytest.approx([0.8, 1.7, 5.2, 8.3])


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    top=st.integers(0, 6), left=st.integers(0, 8), height=st.integers(1, 8),
    width=st.integers(1, 10), share=st.sampled_from([0.0, 0.05, 0.1, 0.2]), seed=st.integers(0, 99),
)  # fmt: skip
def test_every_side_moves_outward_by_at_most_its_share_and_stays_in_the_slice(
    top: int, left: int, height: int, width: int, share: float, seed: int
) -> None:
    shape = (8, 10)
    box = Box(top, left, min(top + height, 8), min(left + width, 10))
    moved = jitter_box(box, share, shape, np.random.default_rng(seed))
    assert 0 <= moved.top <= box.top <= moved.top + share * box.height + 1e-12
    assert 0 <= moved.left <= box.left <= moved.left + share * box.width + 1e-12
    assert box.bottom <= moved.bottom <= min(8, box.bottom + share * box.height + 1e-12)
    assert box.right <= moved.right <= min(10, box.right + share * box.width + 1e-12)
    if share == 0:
        assert moved == box


def test_a_negative_jitter_is_refused() -> None:
    with pytest.raises(ConfigError, match="only move outward"):
        jitter_box(Box(0, 0, 1, 1), -0.1, (4, 4), np.random.default_rng(0))


def test_the_largest_parts_come_first_and_touching_corners_are_one_part() -> None:
    # {(0,0),(1,1),(2,2)} touch by corners: one part of 3; (5,5),(5,6): 2; (7,9): 1.
    found = mask((0, 0), (1, 1), (2, 2), (5, 5), (5, 6), (7, 9))
    assert [int(part.sum()) for part in components(found, 3)] == [3, 2, 1]
    boxes = simulated_boxes(found, 0.0, 2, np.random.default_rng(0))
    assert boxes == (Box(0, 0, 3, 3), Box(5, 5, 6, 7))
