"""Slices with mask and prediction: which slice, which side is up, which colour is where."""

from pathlib import Path

import numpy as np
from PIL import Image

from loops.measuring.overlays import COLOURS, SHARE, SIDE, Overlays, overlay
from salearn.cases import IGNORE, CaseId

ORANGE, BLUE = (tuple(int(v) for v in colour) for colour in COLOURS[:2])


def test_the_prediction_is_filled_and_the_mask_outlined() -> None:
    image = np.zeros((SIDE, SIDE), np.float32)
    mask, labels = (np.zeros((SIDE, SIDE), np.uint8) for _ in range(2))
    mask[20:60, 20:60] = 2
    mask[100:, :] = IGNORE
    labels[30:50, 30:50] = 1
    picture = overlay(image, mask, labels)
    assert picture.shape == (SIDE, 2 * SIDE, 3)
    assert not picture[:, :SIDE].any()  # the image alone is black
    right = picture[:, SIDE:]
    assert tuple(right[20, 40]) == tuple(right[59, 40]) == BLUE
    assert tuple(right[40, 40]) == tuple(int(SHARE * value) for value in COLOURS[0])
    assert not right[25, 25].any()  # inside the mask, not its border
    assert not right[100:].any()  # not annotated: no outline


def test_the_fullest_slice_is_shown_with_the_front_or_top_up(tmp_path: Path) -> None:
    image = np.zeros((40, 30, 20), np.float32)
    mask = np.zeros(image.shape, np.uint8)
    mask[5:8, 5:8, 4] = 1
    mask[2:12, 20:28, 9] = 1  # more of it, at high y: in the upper part
    keeper = Overlays(axis=2, count=1)
    keeper.offer(CaseId("a"), image, mask, np.zeros_like(mask))
    keeper.offer(CaseId("b"), image, mask, np.zeros_like(mask))
    assert keeper.write(tmp_path) is None
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    rows, columns = np.nonzero(picture.any(axis=2))
    factor = -(-SIDE // 40)
    assert (rows.min(), rows.max() + 1) == (2 * factor, 10 * factor)  # 30 - 28, 30 - 20
    assert (columns.min(), columns.max() + 1) == ((40 + 2) * factor, (40 + 12) * factor)


def test_a_folder_that_cannot_be_written_is_told_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    keeper = Overlays(axis=0)
    cube = np.zeros((4, 4, 4), np.uint8)
    keeper.offer(CaseId("a"), cube.astype(np.float32), cube, cube)
    assert keeper.write(tmp_path / "file")
