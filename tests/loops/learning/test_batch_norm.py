"""Which crops move the running averages of batch norm."""

import numpy as np
import pytest
import torch

from loops.learning.batch_norm import FirstPass
from loops.learning.training import Task, Trainer
from loops.ssl.registry import build
from loops.student import StudentSettings
from salearn.cases import CaseId
from salearn.data.patches import Example


def _case(name, level, masked):
    rng = np.random.default_rng(3)
    mask = rng.integers(0, 2, (10, 9, 11)).astype(np.uint8)
    image = (mask + level + rng.normal(0, 0.3, mask.shape)).astype(np.float32)[None]
    return Example(case_id=CaseId(name), image=image, mask=mask if masked else None)


def _trained(host, statistics, level=5.0):
    settings = StudentSettings(
        width=2, depth=2, patch=(8, 8, 8), iterations=4, running_statistics=statistics
    )
    task = Task(
        labeled=[_case("a", 0.0, masked=True)],
        unlabeled=[_case("u", level, masked=False)],
        channels=1,
        num_classes=2,
        host=host,
        pseudo=None,
        seed=0,
    )
    trainer = Trainer(task, settings)
    for _ in range(4):
        trainer.step()
    return trainer.student.state_dict()


def _told(state):
    return {name: value for name, value in state.items() if "num_batches" not in name}


def test_a_mean_teacher_without_weight_is_the_supervised_student_to_the_bit():
    alone = _told(_trained(build("supervised"), "labeled"))
    with_teacher = _told(_trained(build("mean_teacher", {"weight": 0.0}), "labeled"))
    assert all(torch.equal(alone[name], with_teacher[name]) for name in alone)


def test_otherwise_unlabeled_crops_shift_what_the_student_predicts_with():
    alone = _told(_trained(build("supervised"), "all"))
    with_teacher = _told(_trained(build("mean_teacher", {"weight": 0.0}), "all"))
    moved = {name for name in alone if not torch.equal(alone[name], with_teacher[name])}
    assert moved
    assert all("running" in name for name in moved)  # weights are the same, averages are not


@pytest.mark.parametrize("host", ["bcp", "magicnet", "unimatch", "cps"])
def test_brightness_of_unlabeled_crops_counts_only_where_they_are_mixed_in(host):
    given = {"pretrain": 0.0} if host == "bcp" else {}
    near = _trained(build(host, given), "labeled", level=0.0)
    far = _trained(build(host, given), "labeled", level=50.0)
    name = next(name for name in near if name.endswith("running_mean"))  # of the first layer
    apart = float((near[name] - far[name]).abs().max())
    assert (apart > 1.0) == (host == "bcp")


def test_the_first_pass_of_each_step_counts_once():
    norm = torch.nn.BatchNorm1d(1, momentum=0.5)
    first = FirstPass([norm])
    first.begin()
    norm(torch.tensor([[2.0], [4.0]]))  # mean 3: 0 + 0.5 (3 - 0) = 1.5
    norm(torch.tensor([[90.0], [110.0]]))
    assert norm.running_mean.item() == pytest.approx(1.5)
    first.begin()
    norm(torch.tensor([[1.0], [3.0]]))  # mean 2: 1.5 + 0.5 (2 - 1.5) = 1.75
    assert norm.running_mean.item() == pytest.approx(1.75)
