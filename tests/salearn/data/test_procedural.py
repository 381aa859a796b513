"""Generated scenes: the same for the same seed, and every answer is what the words say."""

import numpy as np
import pytest

from salearn.data.procedural import LEAST, SceneSettings, draw_scene
from salearn.data.procedural_prompts import (
    DIRECTIONS,
    NOUNS,
    UNKNOWN,
    VIEWS,
    WORDS,
    Query,
    answer,
    phrase,
    queries,
)
from salearn.data.procedural_shapes import KINDS, Grid, Shape, draw_level, inside
from salearn.models.sam3_prompts import FIRST, WordTokenizer

SETTINGS = SceneSettings()
SHAPE, STEP = (26, 30, 24), (1.0, 1.0, 1.0)
GOLDEN_SIZE, GOLDEN_MEAN = 1699, 0.52671  # of seed 11


def scene(seed, family=None):
    return draw_scene(SHAPE, STEP, SETTINGS, np.random.default_rng(seed), family)


@pytest.mark.parametrize("family", ["anatomy", "objects"])
def test_a_scene_depends_on_its_seed_and_on_nothing_else(family):
    first, again, other = scene(3, family), scene(3, family), scene(4, family)
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.tissue, again.tissue)
    assert first.image.dtype == np.float32
    assert np.isfinite(first.image).all()
    assert not np.array_equal(first.image, other.image)


def test_a_scene_is_what_it_was_when_the_shipped_weights_were_made():
    """Raise CODE_VERSION, and make the weights anew, when this changes."""
    made = scene(11, "anatomy")
    assert made.solids[0].size == GOLDEN_SIZE
    assert float(made.image.mean(dtype=np.float64)) == pytest.approx(GOLDEN_MEAN, abs=1e-4)


def test_a_ball_has_the_volume_of_a_ball():
    grid = Grid((41, 41, 41), (1.0, 1.0, 1.0))
    ball = Shape(
        kind="ball", center=(0, 0, 0), direction=(1, 0, 0), length=12.0, radius=12.0, ripple=0.0
    )
    rng = np.random.default_rng(0)
    voxels = inside(ball, draw_level(ball, grid, rng)).sum()
    assert voxels == pytest.approx(4 / 3 * np.pi * 12**3, rel=0.02)  # 7238


def test_a_straight_tube_is_as_long_and_as_thick_as_asked():
    grid = Grid((21, 61, 21), (1.0, 1.0, 1.0))
    tube = Shape(
        kind="tube", center=(0, 0, 0), direction=(0, 1, 0), length=25.0, radius=5.0, ripple=0.0
    )
    mask = inside(tube, draw_level(tube, grid, np.random.default_rng(0)))
    along = np.flatnonzero(mask.any((0, 2)))
    assert along[-1] - along[0] + 1 == pytest.approx(50, abs=1)  # 2 x half-length
    assert mask[:, 30].any(1).sum() == pytest.approx(10, abs=1)  # 2 x radius


def test_a_ring_is_hollow():
    grid = Grid((31, 31, 31), (1.0, 1.0, 1.0))
    ring = Shape(
        kind="ring", center=(0, 0, 0), direction=(1, 0, 0), length=12.0, radius=12.0, ripple=0.0
    )
    mask = inside(ring, draw_level(ring, grid, np.random.default_rng(0)))
    assert mask[4, 15, 15]  # 11 mm from the middle: level 0.92
    assert not mask[15, 15, 15]


def test_thick_slices_show_the_same_thing():
    """Every third slice of a shape is the shape on a grid of thick slices."""
    ball = Shape(
        kind="ball", center=(0, 2, 0), direction=(0, 1, 0), length=10.0, radius=6.0, ripple=0.0
    )
    rng = np.random.default_rng
    fine = draw_level(ball, Grid((20, 31, 20), (1, 1, 1)), rng(0))
    thick = draw_level(ball, Grid((20, 11, 20), (1, 3, 1)), rng(0))
    assert np.allclose(fine[:, ::3], thick, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_parts_are_halves_of_the_object_on_the_side_that_is_named(seed):
    drawn = scene(seed, "anatomy")
    whole = answer(drawn, Query("central"))
    assert whole.sum() == drawn.solids[0].size
    for axis, (low, high) in enumerate(DIRECTIONS):
        below, above = answer(drawn, Query("part", low)), answer(drawn, Query("part", high))
        assert not (below & above).any()
        assert np.array_equal(below | above, whole)
        if below.any() and above.any():  # RAS: right, anterior, superior are the larger index
            assert np.argwhere(below)[:, axis].mean() < np.argwhere(above)[:, axis].mean()


def test_core_and_shell_make_up_the_object_and_the_core_is_within():
    drawn = scene(1, "anatomy")
    core, shell = answer(drawn, Query("core")), answer(drawn, Query("shell"))
    assert np.array_equal(core | shell, drawn.solids[0].mask)
    assert not (core & shell).any()
    assert drawn.solids[0].level[core].max() < drawn.solids[0].level[shell].min()


def test_bright_and_dark_tissue_are_the_extremes_of_the_label_map():
    for seed in range(6):
        drawn = scene(seed, "anatomy")
        for query in (q for q in queries(drawn) if q.kind == "tissue"):
            meant = drawn.signal[drawn.tissue[answer(drawn, query)]]
            others = drawn.signal[drawn.tissue[~answer(drawn, query)]]
            if query.value == "bright":
                assert meant.min() > others.max()
            else:
                assert meant.max() < others.min()


def test_a_coated_object_is_of_middling_brightness_between_its_neighbors():
    given = SceneSettings(coat=1.0)
    for seed in range(4):
        drawn = draw_scene(SHAPE, STEP, given, np.random.default_rng(seed), "anatomy")
        around, own, beside = drawn.signal[0], drawn.signal[4], drawn.signal[2]
        assert min(around, beside) < own < max(around, beside)
        assert drawn.solids[0].mask.any()


def test_answers_about_objects_agree_with_a_count_by_hand():
    for seed in range(8):
        drawn = scene(seed, "objects")
        sizes = [solid.size for solid in drawn.solids]
        assert min(sizes) >= LEAST
        assert answer(drawn, Query("all")).sum() == sum(sizes)  # they keep apart
        for query in queries(drawn):
            found = answer(drawn, query).sum()
            solids = drawn.solids
            expected = {
                "all": sum(sizes),
                "size": max(sizes) if query.value == "largest" else min(sizes),
                "shade": sum(s.size for s in solids if s.brighter == (query.value == "bright")),
                "form": sum(s.size for s in solids if s.kind == query.value),
            }[query.kind]
            assert found == expected > 0


def test_what_a_scene_does_not_have_is_an_empty_mask():
    drawn = scene(0, "objects")
    absent = next(k for k in KINDS if k not in {solid.kind for solid in drawn.solids})
    assert not answer(drawn, Query("form", absent)).any()


def test_a_direction_without_a_view_means_one_way_through_the_mosaic():
    """anterior/posterior is plain only across coronal slices; elsewhere the view is named."""
    rng = np.random.default_rng(0)
    for axis, view in enumerate(VIEWS):
        said = [phrase(Query("part", "anterior"), axis, rng) for _ in range(60)]
        assert all(words.split()[0] in {"anterior", view} for words in said)
        assert ("anterior" in {words.split()[0] for words in said}) == (axis == 1)
        assert any(words.startswith(view) for words in said)


def test_every_word_that_is_said_has_an_id_or_is_made_up():
    rng = np.random.default_rng(0)
    asked = [
        q for seed in range(4) for f in ("anatomy", "objects") for q in queries(scene(seed, f))
    ]
    for query in asked:
        for axis in range(3):
            for word in phrase(query, axis, rng).split():
                assert word in WORDS or word.startswith("thing")
    assert set(NOUNS) <= set(WORDS)
    assert len(set(WORDS)) == len(WORDS)


def test_every_id_of_unknown_words_is_met_in_pretraining():
    tokenizer = WordTokenizer(vocabulary=128, words=WORDS)
    ids, _ = tokenizer.encode([f"thing{i}" for i in range(UNKNOWN)])
    assert set(ids[:, 1].tolist()) == set(range(FIRST + len(WORDS), 128))
