"""Every host in the trainer: one labeled case, four classes, kills, order, unlabeled masks."""

import json

import numpy as np
import pytest
import torch

from loops.learning.training import Task, Trainer
from loops.ssl.registry import available, build
from loops.student import PseudoLossSettings, StudentSettings, load_student, train_student
from salearn.cases import IGNORE, CaseId
from salearn.data.patches import Example
from salearn.errors import ConfigError

CLASSES = 4
HOSTS = {"fixmatch": {"threshold": 0.3}, "unimatch": {"threshold": 0.3}, "bcp": {"pretrain": 0.4}}
SHAPE = (10, 9, 11)


def _case(name, seed, labeled=False, pseudo=False):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, CLASSES, SHAPE).astype(np.uint8)
    soft = np.moveaxis(np.eye(CLASSES)[mask], -1, 0).astype(np.float16) if pseudo else None
    image = (mask + rng.normal(0, 0.3, SHAPE)).astype(np.float32)[None]
    return Example(case_id=CaseId(name), image=image, mask=mask if labeled else None, pseudo=soft)


LABELED = [_case("a", 1, labeled=True)]
UNLABELED = [_case("u", 2, pseudo=True), _case("v", 3), _case("w", 4, pseudo=True)]


def _settings(iterations=3, **more):
    tiny = {"width": 2, "depth": 2, "patch": (8, 8, 8), "dropout": 0.2, "checkpoint_every": 2}
    return StudentSettings(**{**tiny, "iterations": iterations, **more})


@pytest.fixture(params=available())
def host(request):
    return build(request.param, HOSTS.get(request.param))


def _train(work, host, unlabeled=UNLABELED, report=None):
    train_student(
        LABELED, unlabeled, CLASSES, _settings(), host, PseudoLossSettings(), work, 0, report
    )
    names = sorted(
        p.name for p in work.iterdir() if p.name[0] not in "_." and "timing" not in p.name
    )
    return {name: (work / name).read_bytes() for name in names}


class CutError(Exception):
    pass


def _cut(iteration, total, values):
    if iteration == 3:
        raise CutError


@pytest.mark.slow
def test_a_cut_training_on_permuted_cases_equals_the_whole_bit_for_bit(host, tmp_path, caplog):
    """One labeled case; SFR plugged in; killed after the checkpoint; other order of the cases."""
    whole = _train(tmp_path / "whole", host)
    with pytest.raises(CutError):
        _train(tmp_path / "cut", host, UNLABELED[::-1], _cut)
    assert _train(tmp_path / "cut", host, [UNLABELED[1], UNLABELED[2], UNLABELED[0]]) == whole
    last = json.loads(whole["train.jsonl"].decode().splitlines()[-1])
    assert "pseudo" in last
    assert np.isfinite(list(last.values())).all()


def _trainer(host, unlabeled=UNLABELED, **more):
    task = Task(
        labeled=LABELED, unlabeled=unlabeled, channels=1, num_classes=CLASSES, host=host,
        pseudo=PseudoLossSettings(), seed=0,
    )  # fmt: skip
    return Trainer(task, _settings(**more))


def test_masks_of_unlabeled_crops_reach_no_term(host):
    """Only 255 (outside the volume) is read of them."""
    honest, poisoned = _trainer(host), _trainer(host)
    draw, lies = poisoned.unlabeled_view, torch.Generator().manual_seed(1)

    def poison():
        view = draw()
        if view is not None:
            inside = view.mask != IGNORE
            view.mask[inside] = torch.randint(CLASSES, (int(inside.sum()),), generator=lies)
        return view

    poisoned.unlabeled_view = poison
    for _ in range(2):
        torch.manual_seed(0)
        first = honest.step()
        torch.manual_seed(0)
        assert poisoned.step() == first


def test_every_network_of_a_host_moves_and_is_of_its_own_seed(host):
    trainer = _trainer(host, dropout=0.0)
    plain = _trainer(build("supervised"), dropout=0.0)
    for name, value in plain.student.state_dict().items():
        assert torch.equal(value, trainer.student.state_dict()[name]), name
    before = {
        name: [p.detach().clone() for p in net.parameters()] for name, net in trainer.nets.items()
    }
    for _ in range(3):
        trainer.step()
    for name, net in trainer.nets.items():
        pairs = zip(before[name], net.parameters(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs), name


def test_the_second_network_of_cps_is_saved_and_predicts(tmp_path):
    written = _train(tmp_path, build("cps"))
    assert "second.safetensors" in written
    volume = np.zeros((1, *SHAPE), np.float32)
    first, second = (
        next(load_student(tmp_path, which).predict([volume])) for which in ("student", "second")
    )
    assert first.shape == second.shape
    assert not np.array_equal(first, second)
    assert json.loads(written["record.json"])["parts"]["second"] > 1000


def test_co_training_starts_from_given_weights(tmp_path):
    _train(tmp_path, build("co_training"))
    file = tmp_path / "slices.safetensors"
    trainer = _trainer(build("co_training", {"weights": str(file)}))
    from safetensors.torch import load_file

    for name, value in load_file(file).items():
        assert torch.equal(trainer.parts["slices"].net.state_dict()[name], value), name


def test_a_training_step_of_distinct_cases_takes_each_once():
    host = build("bcp", {"distinct": True})
    task = Task(
        labeled=[_case(n, i, labeled=True) for i, n in enumerate("abc")], unlabeled=UNLABELED,
        channels=1, num_classes=CLASSES, host=host, pseudo=None, seed=0,
    )  # fmt: skip
    trainer = Trainer(task, _settings(batch=3))
    for _ in range(5):
        assert sorted(trainer.labeled_view().cases) == ["a", "b", "c"]


def test_what_a_host_cannot_be_trained_with_is_refused_before_training(tmp_path):
    def refused(host, unlabeled, match, **more):
        with pytest.raises(ConfigError, match=match):
            train_student(
                LABELED, unlabeled, CLASSES, _settings(**more), host, None, tmp_path / "x", 0
            )
        assert not (tmp_path / "x").exists()

    refused(build("ua_mt"), [], r"host ua_mt .* no unlabeled case")
    refused(build("ua_mt"), UNLABELED, r"unlabeled_batch is 0", unlabeled_batch=0)
    refused(build("bcp", {"distinct": True}), UNLABELED, r"2 labeled crops .* 1 are labeled")
    refused(build("magicnet", {"cubes": 3}), UNLABELED, r"\(8, 8, 8\) must be divisible")
    refused(build("urpc"), UNLABELED, r"student\.depth to 2", depth=1)


@pytest.mark.parametrize(
    ("name", "values", "key"),
    [
        ("fixmatch", {"threshold": 1.2}, "threshold"),
        ("fixmatch", {"quantile": -0.1}, "quantile"),
        ("unimatch", {"threshold": -0.5}, "threshold"),
        ("ua_mt", {"start": 1.5}, "start"),
        ("ua_mt", {"passes": 3}, "passes"),
        ("ac_mt", {"end": 2}, "end"),
        ("self_training", {"start": 0.9, "full": 0.2}, "must lie before full"),
        ("mean_teacher", {"treshold": 1}, "unknown key"),
        ("bcp", {"box": 1.0}, "box"),
    ],
)
def test_impossible_settings_are_refused_by_name(name, values, key):
    with pytest.raises(ConfigError, match=key):
        build(name, values)
