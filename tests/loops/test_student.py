import json
import logging
from typing import ClassVar

import numpy as np
import pytest
import torch

from loops.learning.training import Task, Trainer
from loops.ssl.mean_teacher import MeanTeacher
from loops.ssl.registry import Host, Step
from loops.ssl.supervised import Supervised
from loops.student import (
    PseudoLossSettings,
    Student,
    StudentSettings,
    dead_classes,
    load_student,
    train_student,
)
from salearn.cases import CaseId
from salearn.data.augment import NO_AUGMENT
from salearn.data.patches import Example
from salearn.errors import DataError, TrainingError, WeightsError
from salearn.losses import segmentation_loss
from salearn.models.checkpoint import load_state
from salearn.models.infer import InferenceSettings
from salearn.models.vnet import VNet
from salearn.segmenter import Segmenter
from salearn.settings import settings

TINY = {"width": 4, "depth": 2, "patch": (8, 8, 8), "dropout": 0.3}


def _settings(iterations=8, **more):
    return StudentSettings(**{**TINY, "iterations": iterations, "checkpoint_every": 3, **more})


def _case(name, seed, shape=(14, 12, 13), labeled=True, pseudo=False):
    """Two touching boxes, brighter than the ground, in noise."""
    rng = np.random.default_rng(seed)
    mask = np.zeros(shape, np.uint8)
    at = rng.integers(2, 5, 3)
    mask[at[0] : at[0] + 6, at[1] : at[1] + 3, at[2] : at[2] + 6] = 1
    mask[at[0] : at[0] + 6, at[1] + 3 : at[1] + 7, at[2] : at[2] + 6] = 2
    image = (mask * 1.5 + rng.normal(0, 0.3, shape)).astype(np.float32)[None]
    soft = None
    if pseudo:
        soft = np.moveaxis(np.eye(3)[mask] * 0.9 + 0.1 / 3, -1, 0).astype(np.float16)
    return Example(
        case_id=CaseId(name), image=image, mask=mask if labeled else None, pseudo=soft,
        confidence=0.8,
    )  # fmt: skip


LABELED = [_case("a", 1), _case("b", 2)]
UNLABELED = [
    _case("u", 3, labeled=False, pseudo=True),
    _case("v", 4, labeled=False),
    _case("w", 5, labeled=False, pseudo=True),
]


def _train(work, settings=None, host=None, pseudo=None, labeled=LABELED, unlabeled=UNLABELED,
           seed=0, report=None):  # fmt: skip
    train_student(
        labeled, unlabeled, 3, settings or _settings(), host or MeanTeacher(), pseudo, work, seed,
        report,
    )  # fmt: skip
    return work


def _bytes(folder):
    names = sorted(
        p.name for p in folder.iterdir() if p.name[0] not in "_." and "timing" not in p.name
    )
    return {name: (folder / name).read_bytes() for name in names}


def _trainer(settings=None, host=None, pseudo=None, labeled=LABELED, unlabeled=UNLABELED):
    task = Task(
        labeled=labeled, unlabeled=unlabeled, channels=1, num_classes=3,
        host=host or MeanTeacher(), pseudo=pseudo, seed=0,
    )  # fmt: skip
    return Trainer(task, settings or _settings())


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class CutError(Exception):
    pass


@pytest.mark.parametrize("cut", [1, 4, 8])
@pytest.mark.slow
def test_a_training_that_was_cut_continues_bit_for_bit(tmp_path, cut):
    pseudo = PseudoLossSettings()
    whole = _bytes(_train(tmp_path / "whole", pseudo=pseudo))
    done = []

    def stop(iteration, total, terms):
        if iteration == cut:
            raise CutError

    with pytest.raises(CutError):
        _train(tmp_path / "cut", pseudo=pseudo, report=stop)
    _train(tmp_path / "cut", pseudo=pseudo, report=lambda i, n, terms: done.append(i))
    assert _bytes(tmp_path / "cut") == whole
    assert done == list(range(cut - cut % 3 + 1, 9))  # a checkpoint after 3 and 6


@pytest.mark.slow
def test_a_checkpoint_of_another_training_is_not_continued(tmp_path):
    first = _train(tmp_path / "x", _settings(6))
    assert load_state(first / "_checkpoint.pt")["trainer"]["iteration"] == 3
    _train(tmp_path / "x", _settings(7), seed=1)
    assert _bytes(tmp_path / "x") == _bytes(_train(tmp_path / "fresh", _settings(7), seed=1))


def test_order_of_the_examples_does_not_matter_and_the_seed_does(tmp_path):
    one = _bytes(_train(tmp_path / "1", labeled=LABELED, unlabeled=UNLABELED))
    two = _bytes(_train(tmp_path / "2", labeled=LABELED[::-1], unlabeled=UNLABELED[::-1]))
    three = _bytes(_train(tmp_path / "3", seed=1))
    assert one == two
    assert one["student.safetensors"] != three["student.safetensors"]


def test_training_leaves_the_callers_random_state_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    _train(tmp_path, _settings(2))
    assert torch.equal(torch.rand(3), expected)


def test_labeled_statistics_are_not_mixed_with_unlabeled_crops():
    """Supervised term and logits of labeled crops are the same whatever is unlabeled."""
    loud = [Example(case_id=e.case_id, image=e.image * 50 + 9) for e in UNLABELED]
    terms = [
        _trainer(_settings(dropout=0.0), unlabeled=unlabeled).step()["supervised"]
        for unlabeled in (UNLABELED, loud, [])
    ]
    assert terms[0] == terms[1] == terms[2]


def test_one_joint_batch_would_mix_them():
    """The trap itself: batch statistics of a joint pass change the labeled logits."""
    trainer = _trainer(_settings(dropout=0.0))
    labeled, unlabeled = trainer.labeled_view(), trainer.unlabeled_view()
    alone = trainer.student(labeled.weak)
    joint = trainer.student(torch.cat([labeled.weak, 5 * unlabeled.weak]))[:2]
    assert (alone - joint).abs().max() > 0.01


def test_all_hosts_start_alike_and_see_the_same_labeled_crops():
    trainers = [_trainer(host=Supervised()), _trainer(pseudo=PseudoLossSettings())]
    trainers[1].unlabeled_view()
    for name, value in trainers[0].student.state_dict().items():
        assert torch.equal(value, trainers[1].student.state_dict()[name])
    views = [trainer.labeled_view() for trainer in trainers]
    assert torch.equal(views[0].weak, views[1].weak)


def test_terms_of_each_arm(tmp_path):
    def terms(host, pseudo, unlabeled=UNLABELED):
        return set(_trainer(host=host, pseudo=pseudo, unlabeled=unlabeled).step())

    sfr = PseudoLossSettings()
    assert terms(Supervised(), None) == {"supervised"}
    assert terms(MeanTeacher(), None) == {"supervised", "consistency"}
    assert terms(Supervised(), sfr) == {"supervised", "pseudo"}
    assert terms(MeanTeacher(), sfr) == {"supervised", "consistency", "pseudo"}
    assert terms(MeanTeacher(), sfr, []) == {"supervised"}


def test_cases_without_pseudo_label_enter_the_host_only():
    assert [e.case_id for e in _trainer(pseudo=PseudoLossSettings()).task.drawn()] == [
        "u",
        "v",
        "w",
    ]
    supervised = _trainer(host=Supervised(), pseudo=PseudoLossSettings())
    assert [e.case_id for e in supervised.task.drawn()] == ["u", "w"]
    assert _trainer(host=Supervised()).task.drawn() == []


def test_pseudo_term_equals_the_loss_on_the_same_crop():
    chosen = _settings(augment=NO_AUGMENT, dropout=0.0)
    pseudo = PseudoLossSettings(weight=0.5)
    unlabeled = [UNLABELED[0], UNLABELED[2]]
    value = _trainer(chosen, Supervised(), pseudo, unlabeled=unlabeled).step()["pseudo"]
    twin = _trainer(chosen, Supervised(), pseudo, unlabeled=unlabeled)
    view = twin.unlabeled_view()
    expected = segmentation_loss(twin.student.train()(view.weak), view.pseudo.argmax(1))
    assert value == pytest.approx(0.5 * expected.item(), rel=1e-4)


def test_host_and_pseudo_term_share_one_pass_of_the_student():
    trainer = _trainer(pseudo=PseudoLossSettings())
    passes = []
    trainer.student.head.register_forward_hook(
        lambda module, args, out: passes.append(len(args[0]))
    )
    trainer.step()
    assert len(passes) == 2  # labeled, unlabeled


def test_two_masks_teach_two_classes_and_both_networks_know_them(tmp_path):
    chosen = _settings(60, dropout=0.0, width=8, learning_rate=1e-2, augment=NO_AUGMENT)
    _train(tmp_path, chosen, Supervised())
    test = _case("t", 9)
    for which in ("student", "teacher"):
        (soft,) = load_student(tmp_path, which).predict([test.image])
        labels = soft.argmax(0)
        for c in (1, 2):
            found, true = labels == c, test.mask == c
            assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.7
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["dead_classes"] == []
    assert record["iterations"] == 60
    assert record["labeled"] == ["a", "b"]
    lines = [json.loads(line) for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == [10, 20, 30, 40, 50, 60]
    assert lines[-1]["supervised"] < 0.5 * lines[0]["supervised"]
    assert json.loads((tmp_path / "timing.json").read_text())["cpu_seconds"] > 0


@settings
class Forgetful(Host):
    """A host that never learns class 2."""

    SOURCE: ClassVar[str] = "a test"
    unlabeled: ClassVar[bool] = False
    ema_decay: float = 0.5

    def terms(self, step: Step) -> dict[str, torch.Tensor]:
        mask = torch.where(step.mask == 2, 0, step.mask)
        return {"supervised": segmentation_loss(step.student(step.image), mask)}


def test_a_class_that_died_is_found_recorded_and_warned_of(tmp_path, caplog):
    trainer = _trainer()
    with torch.no_grad():
        trainer.student.head.weight[2] = 0
        trainer.student.head.bias[2] = -50
    assert 2 in dead_classes(trainer.student, trainer)

    with caplog.at_level(logging.WARNING):
        _train(tmp_path, _settings(40, learning_rate=1e-2, dropout=0.0), Forgetful())
    assert 2 in json.loads((tmp_path / "record.json").read_text())["dead_classes"]
    assert "never predicted" in caplog.text


def test_a_loss_that_is_not_finite_stops_and_names_the_cases(tmp_path):
    image = LABELED[0].image.copy()
    image[0, 7, 6, 6] = np.nan
    broken = Example(case_id=CaseId("sick"), image=image, mask=LABELED[0].mask)
    with pytest.raises(TrainingError, match=r"not finite.*supervised.*sick"):
        _train(tmp_path, labeled=[broken], unlabeled=[], host=Supervised())


def test_bad_tasks_are_refused_before_training(tmp_path):
    with pytest.raises(TrainingError, match="annotate at least one"):
        _train(tmp_path, labeled=[])
    with pytest.raises(DataError, match=r"case u: .* has no mask"):
        _train(tmp_path, labeled=[UNLABELED[0]])
    with pytest.raises(DataError, match=r"case a: .* unlabeled but"):
        _train(tmp_path, unlabeled=LABELED[:1])
    with pytest.raises(ValueError, match="must be divisible by 4"):
        _settings(patch=(8, 10, 8))


def test_batchnorm_can_be_estimated_anew_for_the_teacher(tmp_path):
    plain = load_student(_train(tmp_path / "a", host=Supervised()), "teacher").net
    fresh = load_student(
        _train(tmp_path / "b", _settings(batchnorm_batches=5), Supervised()), "teacher"
    ).net
    assert torch.equal(plain.head.weight, fresh.head.weight)
    first = [net.encoder[0][1].running_mean for net in (plain, fresh)]
    assert not torch.equal(*first)


def test_sgd_and_step_schedule_follow_the_references():
    chosen = _settings(6000, optimiser="sgd", learning_rate=0.01, schedule="step", warm_up=0.0)
    rates = [chosen.rate(i) for i in (0, 2499, 2500, 4999, 5000, 5999)]
    assert rates == pytest.approx([1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4])
    assert _settings(100, warm_up=0.1).rate(0) == pytest.approx(3e-4)
    assert _settings(100, warm_up=0.0).rate(50) == pytest.approx(3e-3 * 0.5**0.9)
    assert isinstance(_trainer(chosen).optimisers["student"], torch.optim.SGD)


def test_a_student_is_a_segmenter_and_survives_saving(tmp_path):
    torch.manual_seed(0)
    student = Student(VNet(1, 3, _settings().net), _settings())
    assert isinstance(student, Segmenter)
    student.save(tmp_path)
    again = load_student(tmp_path, "student")
    volumes = [_case("t", 1, (9, 11, 7)).image, _case("t", 2, (12, 12, 12)).image]
    for one, two in zip(student.predict(volumes), again.predict(volumes), strict=True):
        assert np.array_equal(one, two)
        assert one.dtype == np.float32
        assert np.allclose(one.sum(0), 1, atol=1e-5)
    with pytest.raises(DataError, match="trained on 1"):
        student.predict([np.zeros((2, 8, 8, 8), np.float32)])
    with pytest.raises(WeightsError, match=r"teacher\.safetensors"):
        load_student(tmp_path, "teacher")
    with pytest.raises(WeightsError, match=r"settings\.json"):
        load_student(tmp_path / "nowhere", "student")


@pytest.mark.slow
def test_whole_and_windowed_prediction_agree(tmp_path):
    chosen = _settings(40, dropout=0.0, learning_rate=1e-2)
    _train(tmp_path, chosen, Supervised())
    student = load_student(tmp_path, "teacher")
    volume = _case("t", 9, (22, 20, 18)).image
    (whole,) = student.predict([volume])
    windows = InferenceSettings(whole_below=0)
    cut = Student(student.net, _settings(inference=windows))
    (pieces,) = cut.predict([volume])
    assert (whole.argmax(0) == pieces.argmax(0)).mean() > 0.97


def test_batches_of_at_least_two_reach_the_convolutions(tmp_path):
    torch.manual_seed(0)
    net = VNet(1, 3, _settings().net)
    sizes = []
    net.head.register_forward_hook(lambda module, args, out: sizes.append(len(args[0])))
    for inference in (InferenceSettings(), InferenceSettings(whole_below=0)):
        student = Student(net, _settings(inference=inference))
        list(student.predict([_case("t", 1).image, _case("t", 2, (20, 20, 20)).image]))
    assert min(sizes) >= 2
