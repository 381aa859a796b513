import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from salearn.errors import ConfigError
from salearn.motion.components import ComponentRule, components
from salearn.motion.filters import FILTERS, FilterName, FilterSettings, apply_filter
from salearn.motion.itv import internal_target
from salearn.motion.tracks import find_tracks

SPACING = (1.0, 1.0, 3.0)
SHIFTS = (0, 0, 1, 2, 2, 3, 2, 1, 1, 0)
RULE = ComponentRule(keep=1)


def cube() -> np.ndarray:
    """The worked example: a 6x6x6 cube that moves along z."""
    phases = np.zeros((10, 24, 24, 24), np.float32)
    for phase, shift in enumerate(SHIFTS):
        phases[phase, 4:10, 4:10, 8 + shift : 14 + shift] = 1
    return phases


def with_blobs() -> np.ndarray:
    phases = cube()
    phases[4, 18:20, 18:20, 2:4] = 1
    for phase in (9, 0, 1):
        phases[phase, 18:20, 4:6, 18:20] = 1
    return phases


def itv_mm3(
    name: FilterName, run: int = 3, phases: np.ndarray | None = None
) -> tuple[float, float]:
    """Volume of the ITV inside and outside the true one."""
    p = with_blobs() if phases is None else phases
    found = internal_target(
        apply_filter(p, SPACING, FilterSettings(name=name, run=run), True, RULE)
    )
    true = internal_target(cube() > 0)
    return float((found & true).sum() * 3), float((found & ~true).sum() * 3)


def test_without_a_filter_everything_stays() -> None:
    assert itv_mm3("none") == (972, 48)  # 8 voxels twice, 3 mm^3 each


@pytest.mark.parametrize(("run", "lost"), [(2, 108), (3, 108), (4, 216)])
def test_the_voxel_form_erodes_the_extreme(run: int, lost: float) -> None:
    inside, outside = itv_mm3("voxel", run)
    assert inside == 972 - lost
    assert outside == (24 if run <= 3 else 0)  # the blob of 3 phases stays


def test_the_component_form_keeps_every_voxel_of_the_motion() -> None:
    assert itv_mm3("component") == (972, 24)


def test_with_connectivity_only_the_structure_is_left() -> None:
    assert itv_mm3("component+connectivity") == (972, 0)


def test_periodic_labelling_finds_three_tracks() -> None:
    found = [components(p > 0, None, SPACING) for p in with_blobs()]
    tracks = find_tracks(found, SPACING, cyclic=True)
    assert sorted(tracks.present.sum(axis=0).tolist()) == [1, 3, 10]
    assert sorted(tracks.runs(cyclic=True).tolist()) == [1, 3, 10]
    # On a line the blob of phases 9, 0, 1 falls into two tracks.
    line = find_tracks(found, SPACING, cyclic=False)
    assert sorted(line.runs(cyclic=False).tolist()) == [1, 1, 2, 10]


def test_periodic_labelling_equals_labelling_in_four_dimensions() -> None:
    """If one common voxel joins, tracks are the components along faces in time."""
    rng = np.random.default_rng(3)
    on = ndimage.binary_opening(rng.random((5, 16, 16, 8)) < 0.55, np.ones((1, 2, 2, 2)))
    found = [components(mask, None, SPACING) for mask in on]
    tracks = find_tracks(found, SPACING, cyclic=False, overlap=1e-9, distance_mm=0)
    structure = np.zeros((3, 3, 3, 3), bool)
    structure[1] = True
    structure[:, 1, 1, 1] = True
    labels, count = ndimage.label(on, structure)
    assert count == tracks.present.shape[1]
    sizes = np.bincount(labels.ravel())[1:]
    volumes = tracks.volume * tracks.present.sum(axis=0) / 3
    assert sorted(volumes.round().astype(int).tolist()) == sorted(sizes.tolist())


def test_close_centroids_join_what_does_not_overlap() -> None:
    p = np.zeros((3, 20, 8, 8), np.float32)
    for phase in range(3):
        p[phase, 2 + 4 * phase, 3:5, 3:5] = 1  # 4 mm apart, no common voxel
    kept = apply_filter(p, (1.0, 1.0, 1.0), FilterSettings(name="component"), cyclic=False)
    assert kept.sum() == 12
    none = FilterSettings(name="component", distance_mm=3.9)
    assert apply_filter(p, (1.0, 1.0, 1.0), none, cyclic=False).sum() == 0


def test_the_soft_form_weighs_one_two_one() -> None:
    p = np.zeros((4, 1, 1, 1), np.float32)
    p[0] = 1.0
    low = FilterSettings(name="soft", threshold=0.24)
    assert apply_filter(p, SPACING, low, True).ravel().tolist() == [True, True, False, True]
    assert apply_filter(p, SPACING, low, False).ravel().tolist() == [True, True, False, False]
    end = FilterSettings(name="soft", threshold=0.7)  # the first phase of a line repeats: 3 / 4
    assert apply_filter(p, SPACING, end, False).ravel().tolist() == [True, False, False, False]
    assert not apply_filter(p, SPACING, end, True).any()


@settings(max_examples=10, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from(sorted(FILTERS)))
def test_rolling_the_phases_rolls_the_output(seed: int, by: int, name: FilterName) -> None:
    noise = np.random.default_rng(seed).random((5, 8, 7, 6)).astype(np.float32)
    p = ndimage.gaussian_filter(noise, (0.7, 1, 1, 1))
    p = (p - p.min()) / (p.max() - p.min())
    how = FilterSettings(name=name, run=3)
    rule = ComponentRule(keep=2, min_volume_mm3=6)
    plain = apply_filter(p, SPACING, how, True, rule)
    rolled = apply_filter(np.roll(p, by, axis=0), SPACING, how, True, rule)
    assert (np.roll(plain, by, axis=0) == rolled).all()


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_what_is_empty_or_full_stays_so(name: FilterName) -> None:
    how = FilterSettings(name=name)
    empty = np.zeros((4, 6, 6, 6), np.float32)
    assert not apply_filter(empty, SPACING, how, True, RULE).any()
    assert apply_filter(empty + 1, SPACING, how, True, RULE).all()


@pytest.mark.parametrize("name", ["none", "voxel", "component", "component+connectivity"])
def test_filters_only_take_away(name: FilterName) -> None:
    p = np.random.default_rng(1).random((5, 8, 8, 8)).astype(np.float32)
    kept = apply_filter(p, SPACING, FilterSettings(name=name), True, RULE)
    assert not (kept & (p <= 0.5)).any()


def test_bad_input_is_refused_with_what_to_do() -> None:
    p = np.ones((2, 4, 4, 4), np.float32)
    with pytest.raises(ConfigError, match=r"run=3 .* the 2 of the scan"):
        apply_filter(p, SPACING, FilterSettings(name="component"), True)
    with pytest.raises(ValueError, match="at least 2"):
        apply_filter(p[:1], SPACING, FilterSettings(name="none"), True)
    with pytest.raises(ConfigError, match="rule for every class"):
        apply_filter(p, SPACING, FilterSettings(run=2), True)
    p[0, 0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        apply_filter(p, SPACING, FilterSettings(name="none"), True)
