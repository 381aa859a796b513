import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from salearn.cases import IGNORE, CaseId
from salearn.data.patches import CropSampler, Example, check_examples, gather
from salearn.errors import DataError, TrainingError


def _example(shape=(10, 12, 9), name="a", seed=0, **more):
    rng = np.random.default_rng(seed)
    image = rng.standard_normal((1, *shape)).astype(np.float32)
    return Example(case_id=CaseId(name), image=image, **more)


def _labeled(shape=(10, 12, 9), name="a", corner=(7, 9, 6)):
    mask = np.zeros(shape, np.uint8)
    mask[corner[0] :, corner[1] :, corner[2] :] = 1
    return _example(shape, name, mask=mask)


def _generator(seed=0):
    return torch.Generator().manual_seed(seed)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    shape=st.tuples(*[st.integers(2, 9)] * 3),
    size=st.tuples(*[st.integers(2, 9)] * 3),
    shift=st.tuples(*[st.integers(-3, 3)] * 3),
)
def test_a_crop_equals_indexing_with_clipped_coordinates(shape, size, shift):
    # The crop must overlap the volume, as the sampler's crops do.
    start = tuple(max(-s + 1, min(d, r - 1)) for d, r, s in zip(shift, shape, size, strict=True))
    mask = np.random.default_rng(1).integers(0, 3, shape).astype(np.uint8)
    example = _example(shape, mask=mask)
    crops = gather([example], [start], size)
    index = [np.arange(f, f + s) for f, s in zip(start, size, strict=True)]
    clipped = np.ix_(*[np.clip(i, 0, r - 1) for i, r in zip(index, shape, strict=True)])
    inside = np.ones(size, bool)
    for axis, (i, room) in enumerate(zip(index, shape, strict=True)):
        inside &= ((i >= 0) & (i < room)).reshape([-1 if a == axis else 1 for a in range(3)])
    assert np.array_equal(crops.image[0, 0].numpy(), example.image[0][clipped])
    assert np.array_equal(crops.mask[0].numpy(), np.where(inside, mask[clipped], IGNORE))


def test_an_unlabeled_crop_is_zero_inside_and_ignored_outside():
    crops = gather([_example((4, 4, 4))], [(-1, 0, 0)], (4, 4, 4))
    assert set(crops.mask[0, 0].unique().tolist()) == {IGNORE}
    assert set(crops.mask[0, 1:].unique().tolist()) == {0}
    assert crops.pseudo is None


def test_pseudo_labels_are_cut_like_the_image_and_are_zero_where_there_are_none():
    shape = (6, 6, 6)
    soft = np.random.default_rng(0).dirichlet([1, 1, 1], shape)
    pseudo = np.moveaxis(soft, -1, 0).astype(np.float16)
    given_ = _example(shape, "a", pseudo=pseudo, confidence=0.7)
    crops = gather([given_, _example(shape, "b")], [(1, 2, -1), (0, 0, 0)], (4, 4, 4), 3)
    expected = pseudo[:, 1:5, 2:6, 0:3].astype(np.float32)
    assert np.array_equal(crops.pseudo[0, :, :, :, 1:].numpy(), expected)
    assert torch.count_nonzero(crops.pseudo[0, :, :, :, 0]) == 0
    assert torch.count_nonzero(crops.pseudo[1]) == 0
    assert crops.confidence.tolist() == pytest.approx([0.7, 0.0])


def test_memory_maps_are_read_without_being_copied_whole(tmp_path):
    np.save(tmp_path / "i.npy", _example((30, 30, 30)).image)
    mapped = np.load(tmp_path / "i.npy", mmap_mode="r")
    sampler = CropSampler([Example(case_id=CaseId("a"), image=mapped)], (8, 8, 8))
    crops = sampler.draw(2, _generator())
    assert crops.image.shape == (2, 1, 8, 8, 8)
    assert crops.image.dtype == torch.float32


def test_every_place_of_the_volume_is_reached():
    marks = np.arange(5, dtype=np.float32).reshape(1, 5, 1, 1) * np.ones((1, 5, 4, 4), np.float32)
    sampler = CropSampler([Example(case_id=CaseId("a"), image=marks)], (4, 4, 4))
    first = {sampler.draw(1, g).image[0, 0, 0, 0, 0].item() for g in map(_generator, range(30))}
    assert first == {0.0, 1.0}


def test_foreground_share_one_always_shows_foreground():
    sampler = CropSampler([_labeled()], (4, 4, 4), foreground_share=1.0)
    generator = _generator()
    assert all((sampler.draw(4, generator).mask == 1).flatten(1).any(1).all() for _ in range(20))


def test_foreground_share_is_met_on_average():
    shape = (40, 4, 4)
    mask = np.zeros(shape, np.uint8)
    mask[39] = 1  # a random crop of 4 along x shows it in 1 of 37 places
    sampler = CropSampler([_example(shape, mask=mask)], (4, 4, 4), foreground_share=0.5)
    shown = (sampler.draw(600, _generator()).mask == 1).flatten(1).any(1).float().mean().item()
    assert shown == pytest.approx(0.5 + 0.5 / 37, abs=0.06)


def test_rare_classes_are_drawn_as_often_as_common_ones():
    mask = np.zeros((40, 4, 4), np.uint8)
    mask[:12] = 1
    mask[39] = 2
    sampler = CropSampler([_example((40, 4, 4), mask=mask)], (4, 4, 4), foreground_share=1.0)
    drawn = sampler.draw(300, _generator()).mask
    share = (drawn == 2).flatten(1).any(1).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("foreground_share", [0.0, 0.5, 1.0])
def test_crops_of_a_partly_annotated_case_show_an_annotated_slice(foreground_share):
    mask = np.full((8, 40, 8), IGNORE, np.uint8)
    mask[:, 21] = 0
    mask[3, 21, 3] = 1
    sampler = CropSampler([_example(mask.shape, mask=mask)], (8, 8, 8), 0, foreground_share)
    drawn = sampler.draw(50, _generator()).mask
    assert (drawn != IGNORE).flatten(1).any(1).all()


def test_margin_surrounds_the_patch():
    example = _labeled((10, 10, 10))
    plain = CropSampler([example], (8, 8, 8)).draw(3, _generator(4))
    wide = CropSampler([example], (8, 8, 8), margin=2).draw(3, _generator(4))
    assert wide.image.shape == (3, 1, 12, 12, 12)
    assert torch.equal(wide.image[:, :, 2:-2, 2:-2, 2:-2], plain.image)
    assert torch.equal(wide.mask[:, 2:-2, 2:-2, 2:-2], plain.mask)


def test_one_case_smaller_than_the_patch_is_enough():
    crops = CropSampler([_labeled((5, 6, 7), corner=(2, 2, 2))], (8, 8, 8)).draw(2, _generator())
    assert crops.cases == ("a", "a")
    assert (crops.mask != IGNORE).flatten(1).sum(1).tolist() == [5 * 6 * 7] * 2


def test_the_generator_decides_everything():
    sampler = CropSampler([_labeled(name="a"), _labeled(name="b")], (6, 6, 6), 0, 0.5)
    first, again = sampler.draw(5, _generator(7)), sampler.draw(5, _generator(7))
    assert first.cases == again.cases
    assert torch.equal(first.image, again.image)


def test_no_case_and_a_mask_without_annotation_are_refused():
    with pytest.raises(TrainingError, match="annotate at least one"):
        CropSampler([], (4, 4, 4))
    empty = _example(mask=np.full((10, 12, 9), IGNORE, np.uint8))
    with pytest.raises(TrainingError, match="case a"):
        CropSampler([empty], (4, 4, 4)).draw(1, _generator())


def test_examples_that_do_not_fit_are_refused_by_name():
    shape = (4, 4, 4)
    image = np.zeros((1, *shape), np.float32)
    good = Example(case_id=CaseId("good"), image=image, mask=np.full(shape, IGNORE, np.uint8))
    check_examples([good], 2, 1)
    strange = Example(case_id=CaseId("odd"), image=image, mask=np.full(shape, 7, np.uint8))
    with pytest.raises(DataError, match=r"case odd: mask values \[7\]"):
        check_examples([good, strange], 2, 1)
    soft = Example(case_id=CaseId("odd"), image=image, pseudo=np.zeros((3, *shape), np.float16))
    with pytest.raises(DataError, match="case odd: the pseudo-label has 3 classes"):
        check_examples([soft], 2, 1)
    two = Example(case_id=CaseId("odd"), image=np.zeros((2, *shape), np.float32))
    with pytest.raises(DataError, match="case odd: 2 channels"):
        check_examples([two], 2, 1)
