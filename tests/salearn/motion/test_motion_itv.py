import numpy as np
import pytest

from salearn.motion.itv import core, internal_target, occupancy, resample_mask, signed_distance
from salearn.motion.metrics import (
    centroid_track,
    consistency,
    describe_motion,
    excursion,
    greatest_distance,
    hysteresis,
    margins,
    path_length,
    volume_variation,
)
from salearn.motion.score import score_itv

SPACING = (1.0, 1.0, 3.0)
SHIFTS = (0, 0, 1, 2, 2, 3, 2, 1, 1, 0)


def cube() -> np.ndarray:
    phases = np.zeros((10, 20, 20, 20), bool)
    for phase, shift in enumerate(SHIFTS):
        phases[phase, 4:10, 4:10, 5 + shift : 11 + shift] = True
    return phases


def test_the_cube_has_the_volumes_and_the_motion_of_the_reference() -> None:
    masks = cube()
    mm3 = [int(m.sum()) * 3 for m in (masks[0], internal_target(masks), core(masks))]
    assert mm3 == [648, 972, 324]
    scores = score_itv(masks, masks, SPACING, cyclic=True)
    assert scores["itv_over_phase"] == pytest.approx(1.5)
    assert scores["itv_over_core"] == pytest.approx(3.0)
    assert scores["excursion_z_mm"] == pytest.approx(9)
    assert scores["path_mm"] == pytest.approx(18)
    assert scores["max_distance_mm"] == pytest.approx(9)
    assert scores["hysteresis_mm"] == pytest.approx(0, abs=1e-9)  # straight up and down
    assert (scores["margin_z+"], scores["margin_z-"], scores["margin_x+"]) == (9, 0, 0)
    assert (scores["dice"], scores["coverage"], scores["excess"]) == (1, 1, 0)
    assert scores["hd95_mm"] == 0
    assert scores["volume_cv"] == 0


def test_temporal_consistency_is_the_mean_dice_of_neighbours() -> None:
    # Steps of 1 slice of 6 give Dice 5/6; there are 6 of them in 10 pairs, the others give 1.
    assert consistency(cube(), cyclic=True) == pytest.approx((4 + 6 * 5 / 6) / 10)
    # On a line the pair 9 -> 0 (equal) falls away.
    assert consistency(cube(), cyclic=False) == pytest.approx((3 + 6 * 5 / 6) / 9)


def test_votes_go_from_the_union_to_the_core() -> None:
    masks = cube()
    counts = occupancy(masks)
    assert (internal_target(masks, 1) == (counts >= 1)).all()
    assert (internal_target(masks, 4) == (counts >= 4)).all()
    assert (internal_target(masks, 10) == core(masks)).all()
    with pytest.raises(ValueError, match="votes"):
        internal_target(masks, 11)


def test_independent_false_positives_add_up_in_the_union() -> None:
    noise = np.random.default_rng(0).random((10, 50, 50, 50)) < 0.01
    assert internal_target(noise).mean() == pytest.approx(1 - 0.99**10, abs=0.002)  # 9.6 %


def circle(phases: int = 12) -> np.ndarray:
    """A loop with 10 mm along z and 3 mm along x."""
    angle = 2 * np.pi * np.arange(phases) / phases
    return np.stack([1.5 * np.sin(angle), 0 * angle, 5 * np.cos(angle)], axis=1)


def test_hysteresis_is_the_width_of_the_loop_at_equal_height() -> None:
    track = circle()
    assert hysteresis(track) == pytest.approx(3.0)  # +-1.5 mm at half height
    assert hysteresis(np.roll(track, 5, axis=0)) == pytest.approx(3.0)
    assert excursion(track) == pytest.approx([3, 0, 10])
    assert greatest_distance(track) == pytest.approx(10)
    chord = np.linalg.norm(track[1] - track[0])
    assert path_length(track[:2], cyclic=True) == pytest.approx(2 * chord)
    assert path_length(track[:2], cyclic=False) == pytest.approx(chord)


def test_hysteresis_equals_a_dense_search() -> None:
    rng = np.random.default_rng(4)
    z = np.concatenate([np.sort(rng.random(6))[::-1], np.sort(rng.random(5))]) * 10
    track = np.stack([rng.random(11), rng.random(11), z], axis=1)
    ring = np.roll(track, -int(z.argmax()), axis=0)
    ring = np.concatenate([ring, ring[:1]])
    turn = int(ring[:, 2].argmin())
    down, up = ring[: turn + 1][::-1], ring[turn:]
    levels = np.linspace(z.min(), z.max(), 20001)
    gaps = [
        np.interp(levels, down[:, 2], down[:, a]) - np.interp(levels, up[:, 2], up[:, a])
        for a in (0, 1)
    ]
    assert hysteresis(track) == pytest.approx(np.hypot(*gaps).max(), abs=1e-3)


def test_without_motion_along_z_there_is_no_hysteresis() -> None:
    assert np.isnan(hysteresis(np.zeros((5, 3))))


def test_margins_are_directed() -> None:
    phases = np.zeros((2, 12, 12, 12), bool)
    phases[0, 4:8, 4:8, 4:8] = True
    phases[1, 3:7, 4:10, 4:8] = True  # 1 to the left, 2 to the front
    found = margins(internal_target(phases), phases[0], (2.0, 1.0, 3.0))
    wanted = {"x+": 0, "x-": 2, "y+": 2, "y-": 0, "z+": 0, "z-": 0}
    assert found == {f"margin_{name}": value for name, value in wanted.items()}


def test_volumes_vary_by_their_coefficient() -> None:
    phases = np.zeros((2, 4, 4, 4), bool)
    phases[0, :1, 0, 0] = True
    phases[1, :3, 0, 0] = True
    assert volume_variation(phases) == pytest.approx(0.5)  # 1 and 3: mean 2, s.d. 1


def test_empty_predictions_are_defined() -> None:
    truth = cube()
    scores = score_itv(np.zeros_like(truth), truth, SPACING, cyclic=True)
    assert (scores["dice"], scores["coverage"], scores["false_positive_ml"]) == (0, 0, 0)
    assert scores["missed_ml"] == pytest.approx(0.972)
    assert scores["hd95_mm"] == pytest.approx(np.linalg.norm([20, 20, 60]))  # the image diagonal
    assert scores["phases_present"] == 0
    names = ("excursion_z_mm", "path_mm", "margin_x+", "consistency", "volume_cv", "itv_over_core")
    assert all(np.isnan(scores[name]) for name in names)


def test_a_phase_without_the_structure_is_passed_over() -> None:
    masks = cube()
    masks[1] = False  # phase 0 has the same place
    track = centroid_track(masks, SPACING)
    assert np.isnan(track[1]).all()
    found = describe_motion(masks, SPACING, cyclic=True)
    assert (found["phases_present"], found["path_mm"]) == (9, pytest.approx(18))


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        score_itv(cube(), cube()[:, 1:], SPACING, cyclic=True)


def ball(shape: tuple[int, int, int], step: float, radius: float) -> np.ndarray:
    axes = [(np.arange(n) + 0.5) * step - 16 for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside: np.ndarray = x**2 + y**2 + z**2 < radius**2
    return inside


def grid(step: float) -> np.ndarray:
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = step / 2
    return affine


def test_resampling_goes_by_distance_and_not_by_label() -> None:
    coarse = ball((16, 16, 16), 2.0, 9.3)
    fine = resample_mask(coarse, grid(2.0), (32, 32, 32), grid(1.0))
    truth = ball((32, 32, 32), 1.0, 9.3)
    nearest = np.repeat(np.repeat(np.repeat(coarse, 2, 0), 2, 1), 2, 2)

    def dice(a: np.ndarray) -> float:
        return float(2 * (a & truth).sum() / (a.sum() + truth.sum()))

    assert dice(fine) > dice(nearest) + 0.01  # 0.932 and 0.917: two coarse voxels are 4 mm


def test_resampling_onto_the_same_grid_changes_nothing() -> None:
    mask = np.random.default_rng(0).random((9, 8, 7)) < 0.4
    affine = np.diag([1.0, 2.0, 3.0, 1.0])
    assert (resample_mask(mask, affine, (9, 8, 7), affine) == mask).all()
    shifted = affine.copy()
    shifted[:3, 3] = [1, 2, 3]  # one voxel along every axis
    moved = resample_mask(mask, affine, (8, 7, 6), shifted)
    assert (moved == mask[1:, 1:, 1:]).all()


def test_empty_and_full_masks_can_be_resampled() -> None:
    affine = np.eye(4)
    assert not resample_mask(np.zeros((4, 4, 4), bool), affine, (4, 4, 4), affine).any()
    assert resample_mask(np.ones((4, 4, 4), bool), affine, (4, 4, 4), affine).all()
    assert signed_distance(np.zeros((2, 2, 2), bool), (1.0, 1.0, 1.0)).max() == -np.inf
