"""Student and teacher on one base: the base is held once, the mean is the one by hand."""

import pytest
import torch

from salearn.errors import ConfigError
from salearn.models.adapted import load_adapted, save_adapted
from salearn.models.arms.registry import build
from salearn.models.lora import trainable
from salearn.models.pair import SamPair, TeacherSettings
from salearn.models.sam3 import SamSettings, load_sam


@pytest.fixture(scope="module")
def sam():
    return load_sam(SamSettings(weights="tiny", resolution=64), ("object",))


def fill(pair, value):
    with torch.no_grad():
        for parameter in trainable(pair.student).values():
            parameter.fill_(value)


def values(model):
    return {float(v) for p in trainable(model).values() for v in p.detach().flatten()[:3]}


@pytest.mark.parametrize("name", ["lora", "adapter", "head"])
def test_two_adapters_hold_the_base_once(sam, name):
    pair = SamPair(build(name).adapt(sam, 0), TeacherSettings())
    base = {p.data_ptr() for p in sam.parameters()}
    mine, theirs = trainable(pair.student), trainable(pair.teacher)
    assert mine.keys() == theirs.keys()
    assert not {p.data_ptr() for p in mine.values()} & {p.data_ptr() for p in theirs.values()}
    frozen = [p for n, p in pair.teacher.named_parameters() if n not in theirs]
    assert frozen
    assert {p.data_ptr() for p in frozen} <= base
    held = {t.data_ptr(): t.nbytes for m in (pair.student, pair.teacher) for t in m.parameters()}
    alone = {t.data_ptr(): t.nbytes for t in pair.student.parameters()}
    assert sum(held.values()) - sum(alone.values()) == pair.own_bytes
    assert pair.own_bytes == sum(4 * p.numel() for p in mine.values())


def test_the_mean_is_the_one_by_hand(sam):
    pair = SamPair(build("lora").adapt(sam, 0), TeacherSettings(decay=0.6))
    for value in (1.0, 3.0, 7.0):
        fill(pair, value)
        pair.update()
    # a = 0, 1/2, min(2/3, .6): 1; (1 + 3) / 2 = 2; .6 x 2 + .4 x 7 = 4.
    assert list(values(pair.teacher)) == pytest.approx([4.0], abs=1e-6)
    assert values(pair.student) == {7.0}
    assert pair.told()["updates"] == 3


def test_a_pair_goes_on_from_its_state(sam):
    first = SamPair(build("head").adapt(sam, 0), TeacherSettings(decay=0.9))
    for value in (1.0, 2.0):
        fill(first, value)
        first.update()
    second = SamPair(build("head").adapt(sam, 1), TeacherSettings(decay=0.9))
    second.load(first.state())
    for pair in (first, second):
        fill(pair, 5.0)
        pair.update()
    assert values(first.teacher) == values(second.teacher)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lora", "adapter_decoder"])
def test_the_teacher_is_saved_like_any_adapted_sam(sam, tmp_path, name):
    pair = SamPair(build(name).adapt(sam, 0), TeacherSettings())
    fill(pair, 0.01)
    pair.update()
    fill(pair, 0.3)
    save_adapted(pair.teacher, tmp_path)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        again = load_adapted(sam, tmp_path)(image)
        assert torch.equal(again, pair.teacher(image))
        assert not torch.equal(again, pair.student.eval()(image))


def test_there_is_no_mean_of_nothing(sam):
    with pytest.raises(ConfigError, match=r"finetune\.teacher.*zero_shot"):
        SamPair(build("zero_shot").adapt(sam, 0), TeacherSettings())
