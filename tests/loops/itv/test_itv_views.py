import numpy as np
import pytest

from loops.itv.config import StructureSettings
from loops.itv.views import (
    PLANES,
    Group,
    all_windows,
    groups_of,
    neighbours,
    shown,
    together,
    turned,
    turned_back,
    windowed,
)
from salearn.cases import IGNORE
from salearn.motion.components import ComponentRule

RULE = ComponentRule(keep=1)
LUNG, SOFT = (-600.0, 1500.0), (40.0, 400.0)


def volume() -> np.ndarray:
    return np.random.default_rng(0).uniform(-1000, 1000, (1, 6, 5, 4)).astype(np.float32)


def test_a_window_maps_its_ends_to_minus_one_and_one() -> None:
    image = np.array([-1350, -600, 150, 3000], np.float32).reshape(1, 4, 1, 1)
    assert windowed(image, LUNG).ravel().tolist() == [-1, 0, 1, 1]  # -600 +- 750
    assert windowed(image, SOFT).ravel().tolist() == pytest.approx([-1, -1, 0.55, 1])
    assert all_windows(image, [LUNG, SOFT]).shape == (2, 4, 1, 1)


def test_structures_with_one_window_are_seen_together() -> None:
    given = {
        name: StructureSettings(window=window, rule=RULE)
        for name, window in (("lung", LUNG), ("heart", SOFT), ("tumour", LUNG))
    }
    groups = groups_of(["lung", "heart", "tumour"], given)
    assert [group.labels for group in groups] == [(1, 3), (2,)]
    mask = np.array([0, 1, 2, 3, IGNORE], np.uint8).reshape(5, 1, 1)
    assert groups[0].mask(mask).ravel().tolist() == [0, 1, 0, 2, IGNORE]


def test_three_slices_are_the_three_channels() -> None:
    image = volume()
    for axis in range(3):
        seen = neighbours(image, axis)
        middle = np.take(seen[1], [2], axis)
        assert (middle == np.take(image[0], [2], axis)).all()
        assert (np.take(seen[0], [2], axis) == np.take(image[0], [1], axis)).all()
        assert (np.take(seen[2], [2], axis) == np.take(image[0], [3], axis)).all()
        assert (np.take(seen[0], [0], axis) == np.take(image[0], [0], axis)).all()


def test_planes_are_turned_and_turned_back() -> None:
    image = volume()
    for order in PLANES:
        assert (turned_back(turned(image, order), order) == image).all()
    shapes = [view.shape for view in shown(image, LUNG, "planes", 2)]
    assert shapes == [(1, 6, 5, 4), (1, 6, 4, 5), (1, 5, 4, 6)]  # axial, coronal, sagittal
    assert [view.shape for view in shown(image, LUNG, "rgb", 2)] == [(3, 6, 5, 4)]


def test_groups_together_are_one_softmax() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, (4, 2, 3, 4))
    logits[0] = 0

    def softmax(values: np.ndarray) -> np.ndarray:
        e = np.exp(values)
        part: np.ndarray = e / e.sum(axis=0)
        return part

    parts = [
        (Group(window=LUNG, labels=(1, 3)), softmax(logits[[0, 1, 3]])),
        (Group(window=SOFT, labels=(2,)), softmax(logits[[0, 2]])),
    ]
    assert together(parts, 4) == pytest.approx(softmax(logits), abs=1e-5)
