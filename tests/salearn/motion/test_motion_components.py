import numpy as np
import pytest
from scipy import ndimage

from salearn.motion.components import (
    ComponentRule,
    Connectivity,
    components,
    connected,
    fill_holes,
    label_components,
)
from salearn.settings import parse

ONE = (1.0, 1.0, 1.0)


@pytest.mark.parametrize(("other", "counts"), [((0, 1, 1), (2, 1, 1)), ((1, 1, 1), (2, 2, 1))])
def test_neighbours_count_as_the_reference_says(
    other: tuple[int, int, int], counts: tuple[int, ...]
) -> None:
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 0, 0] = mask[other] = True
    kinds: tuple[Connectivity, ...] = (6, 18, 26)
    assert tuple(label_components(mask, kind)[1] for kind in kinds) == counts


def two_blobs() -> np.ndarray:
    mask = np.zeros((12, 10, 8), bool)
    mask[1:4, 1:4, 1:4] = True  # 27 voxels
    mask[8:10, 6:8, 4:6] = True  # 8 voxels
    return mask


def test_volume_probability_and_centroid_are_those_of_scipy() -> None:
    mask, spacing = two_blobs(), (2.0, 1.0, 3.0)
    p = np.random.default_rng(0).random(mask.shape)
    found = components(mask, p, spacing)
    labels, _ = ndimage.label(mask, np.ones((3, 3, 3)))
    assert found.volume.tolist() == [27 * 6, 8 * 6]
    assert found.probability == pytest.approx(ndimage.mean(p, labels, [1, 2]))
    middles = np.array(ndimage.center_of_mass(mask, labels, [1, 2])) * spacing
    assert found.centroid == pytest.approx(middles)


def test_rules_keep_the_largest_the_big_enough_and_the_believed() -> None:
    mask = two_blobs()
    p = np.where(np.arange(12)[:, None, None] < 6, 0.4, 0.9) * np.ones(mask.shape)

    def kept(rule: ComponentRule) -> int:
        return int(connected(mask, p, rule, ONE).sum())

    # Scores: 27 x 0.4 = 10.8 and 8 x 0.9 = 7.2.
    assert kept(ComponentRule(keep=1, min_volume_mm3=0, min_probability=0)) == 27
    assert kept(ComponentRule(keep="all", min_volume_mm3=0, min_probability=0)) == 35
    assert kept(ComponentRule(keep="all", min_volume_mm3=10, min_probability=0)) == 27
    assert kept(ComponentRule(keep=1, min_volume_mm3=0)) == 8  # 0.4 is below 0.5
    assert kept(ComponentRule(keep="all")) == 0  # 100 mm^3 is the default


def test_a_rule_must_say_how_many_are_kept() -> None:
    with pytest.raises(ValueError, match="keep"):
        parse(ComponentRule, {}, "structures.heart.rule")
    with pytest.raises(ValueError, match="keep"):
        parse(ComponentRule, {"keep": 0}, "structures.heart.rule")


def test_an_empty_mask_has_no_components() -> None:
    empty = np.zeros((4, 4, 4), bool)
    found = components(empty, None, ONE)
    assert len(found.volume) == 0
    assert not connected(empty, None, ComponentRule(keep=1), ONE).any()


def test_holes_are_background_that_does_not_reach_out_by_faces() -> None:
    mask = np.zeros((5, 5, 5), bool)
    mask[1:4, 1:4, 1:4] = True
    mask[2, 2, 2] = False
    assert fill_holes(mask).sum() == 27
    mask[1, 1, 1] = False  # touches the hole by a corner only
    assert fill_holes(mask)[2, 2, 2]
    mask[1, 2, 2] = False  # now it is open by a face
    assert not fill_holes(mask)[2, 2, 2]
