import numpy as np
import pytest

from salearn.cases import IGNORE
from salearn.hard_negatives_boundary import (
    ContrastSettings,
    boundary_points,
    boundary_weights,
    contrast_of,
)

SPACING = (1.5, 2.0, 3.0)


def sphere(radius_mm: float = 6.0) -> np.ndarray:
    grid = np.stack(np.meshgrid(*[np.arange(n) for n in (12, 11, 9)], indexing="ij"), axis=-1)
    centre = np.array([5.5, 5.0, 4.0])
    distance = np.sqrt((((grid - centre) * SPACING) ** 2).sum(axis=-1))
    return (distance <= radius_mm).astype(np.uint8)


def plain_points(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Voxels of the structure with a face neighbour outside it and inside the image."""
    found = []
    for voxel in map(tuple, np.argwhere(mask == 1)):
        for axis in range(3):
            for step in (-1, 1):
                near = list(voxel)
                near[axis] += step
                if 0 <= near[axis] < mask.shape[axis] and mask[tuple(near)] == 0:
                    found.append(voxel)
    return sorted(set(found))


def plain_contrast(image: np.ndarray, mask: np.ndarray, point: tuple[int, ...]) -> float:
    sides: dict[int, list[float]] = {0: [], 1: []}
    for voxel in np.ndindex(*mask.shape):
        apart = (np.array(voxel) - point) * SPACING
        if (apart**2).sum() <= 25 and mask[voxel] in sides:
            sides[int(mask[voxel])].append(float(image[voxel]))
    out, inside = (np.array(sides[k]) for k in (0, 1))
    return float(abs(inside.mean() - out.mean()) / np.sqrt((inside.var() + out.var()) / 2 + 1e-6))


def test_weights_of_a_sphere_are_those_of_brute_force() -> None:
    rng, mask = np.random.default_rng(0), sphere()
    image = rng.normal(0.5, 0.3, mask.shape) + 0.2 * mask
    points, contrast = contrast_of(image, mask, 1, SPACING)
    assert list(map(tuple, points)) == plain_points(mask)
    few = range(0, len(points), 9)
    for k in few:
        assert contrast[k] == pytest.approx(plain_contrast(image, mask, tuple(points[k])), rel=1e-6)
    found = boundary_weights(image, mask, 1, SPACING, ContrastSettings())[0]
    for voxel in map(tuple, rng.integers(0, mask.shape, (60, 3))):
        apart = np.sqrt((((points - voxel) * SPACING) ** 2).sum(axis=1))
        near = np.flatnonzero(apart <= apart.min() + 1e-9)  # equally near: any of them may count
        spread = np.exp(-(apart.min() ** 2) / 18)
        allowed = 1 + 2 * np.exp(-contrast[near]) * spread
        assert np.abs(allowed - found[voxel]).min() < 1e-3


def test_where_there_is_no_contrast_the_weight_is_known() -> None:
    mask = sphere()
    found = boundary_weights(np.full(mask.shape, 0.7), mask, 1, SPACING, ContrastSettings())[0]
    points = np.array(plain_points(mask))
    for voxel in map(tuple, np.random.default_rng(1).integers(0, mask.shape, (40, 3))):
        d2 = (((points - voxel) * SPACING) ** 2).sum(axis=1).min()
        # c = 0: 1 + 2 exp(0) exp(-d^2 / (2 3^2)); 3 on the boundary itself
        assert found[voxel] == pytest.approx(1 + 2 * np.exp(-d2 / 18), abs=1e-3)


def test_equal_contrast_in_standard_deviations_is_an_equal_weight() -> None:
    # Checkerboards of s.d. 0.1 and means 0.2 apart in flat halves: c = 2 on all of the boundary.
    mask = np.zeros((8, 12, 12), np.uint8)
    mask[:4] = 1
    board = np.where(np.indices(mask.shape).sum(axis=0) % 2, 0.1, -0.1)
    given = ContrastSettings(radius_mm=1.0)  # the point, its neighbours in the plane, one beyond
    points, contrast = contrast_of(board + 0.2 * mask, mask, 1, (1, 1, 1), 1.0)
    inner = np.all((points[:, 1:] > 0) & (points[:, 1:] < 11), axis=1)
    # Inside: the point (s), four neighbours in the plane and one behind (-s each): mean 0.2 - 2s/3
    # (s = +-0.1), variance s^2 (1 - 4/9). Outside: one voxel (-s), variance 0.
    sign = np.where(points[inner].sum(axis=1) % 2, 0.1, -0.1)
    expected = np.abs(0.2 - 2 * sign / 3 + sign) / np.sqrt(0.5 * 0.01 * 5 / 9 + 1e-6)
    np.testing.assert_allclose(contrast[inner], expected, rtol=1e-9)
    weights = boundary_weights(board + 0.2 * mask, mask, 1, (1, 1, 1), given)[0]
    on = weights[tuple(points[inner].T)]
    np.testing.assert_allclose(on, 1 + 2 * np.exp(-expected), rtol=1e-5)


def test_nothing_is_weighed_where_nothing_is_known_beyond() -> None:
    mask = np.full((6, 6, 6), IGNORE, np.uint8)
    mask[2:4, 2:4, 2:4] = 1
    inside = mask == 1
    assert not boundary_points(inside, np.zeros_like(inside)).any()
    given = ContrastSettings()
    np.testing.assert_array_equal(
        boundary_weights(np.zeros(mask.shape), mask, 2, (1, 1, 1), given), 1.0
    )


def test_a_coarse_grid_reaches_the_next_voxel() -> None:
    mask = np.zeros((5, 5, 4), np.uint8)
    mask[:, :, :2] = 1
    image = np.where(mask == 1, 0.0, 1.0)
    points, contrast = contrast_of(image, mask, 1, (4.0, 4.0, 6.0), 5.0)  # 6 mm > 5 mm
    assert set(points[:, 2]) == {1}
    np.testing.assert_allclose(contrast, 1 / np.sqrt(1e-6))
