"""The contract of every registered host."""

import pytest
import torch
from host_step import CLASSES, make_step, reached

from loops.ssl.registry import HOSTS, Host, available, build
from salearn.losses import segmentation_loss

STUDENT = {"encoder", "decoder", "head"}
# Settings that let every term act on four random classes.
ACTIVE = {
    "fixmatch": {"threshold": 0.3},
    "unimatch": {"threshold": 0.3},
    "ac_mt": {"start": 0.5, "end": 0.5},
}
MIXERS = {"bcp", "magicnet"}  # labeled and unlabeled voxels meet in one image by design
DRAWS = {"mean_teacher", "ua_mt", "ac_mt", "bcp", "ict", "unimatch", "cct", "magicnet"}
# Networks that learn from the labeled crops, where it is not the student alone.
SUPERVISED = {
    "urpc": STUDENT | {"level_1"},
    "cct": STUDENT | {"noise", "dropout", "attention"},
}
REACH = {
    ("cps", "supervised_second"): {"second"},
    ("cps", "cross"): STUDENT | {"second"},
    ("dtc", "distance"): {"encoder", "decoder", "distance"},
    ("dtc", "agreement"): STUDENT | {"distance"},
    ("urpc", "pyramid"): STUDENT | {"level_1"},
    ("mc_net", "supervised_linear"): {"encoder", "linear"},
    ("mc_net", "supervised_nearest"): {"encoder", "nearest"},
    ("mc_net", "mutual"): STUDENT | {"linear", "nearest"},
    ("sassnet", "distance"): {"encoder", "decoder", "distance"},
    ("sassnet", "adversary"): {"encoder", "decoder", "distance"},
    ("sassnet", "critic"): {"critic"},
    ("cct", "consistency"): {"encoder", "noise", "dropout", "attention"},
    ("magicnet", "location"): {"encoder", "location"},
    ("co_training", "supervised_slices"): {"slices"},
    ("co_training", "from_slices"): STUDENT,
    ("co_training", "to_slices"): {"slices"},
}
PLUG = {"cps": STUDENT | {"second"}, "co_training": STUDENT | {"slices"}}


@pytest.fixture(params=available())
def name(request):
    return request.param


@pytest.fixture
def host(name):
    return build(name, ACTIVE.get(name))


def _values(terms):
    return {key: term.item() for key, term in terms.items()}


def test_all_hosts_of_the_issue_are_registered():
    assert set(available()) >= {
        "supervised", "self_training", "mean_teacher", "ua_mt", "ac_mt", "cps", "dtc", "urpc",
        "bcp", "ict", "fixmatch", "unimatch", "mc_net", "sassnet", "cct", "magicnet",
        "co_training",
    }  # fmt: skip


def test_a_host_is_a_frozen_settings_class_with_a_source(host):
    assert isinstance(host, Host)
    assert type(host).SOURCE
    assert 0 <= host.ema_decay < 1
    assert {row["name"] for row in HOSTS.describe()} == set(available())
    assert all(row["source"] and row["summary"] for row in HOSTS.describe())


def test_every_term_reaches_exactly_the_intended_networks(host, name):
    step = make_step(host)
    terms = host.terms(step)
    assert "supervised" in terms
    assert (len(terms) > 1) == host.unlabeled
    for key, term in terms.items():
        assert torch.isfinite(term), key
        assert term > 0, key
        default = SUPERVISED.get(name, STUDENT) if key == "supervised" else STUDENT
        assert reached(step, term) == REACH.get((name, key), default), key
    assert all(isinstance(value, float) for value in step.log.values())


@pytest.mark.parametrize("progress", [0.0, 0.5, 1.0])
def test_terms_are_finite_at_all_times_with_the_default_settings(name, progress):
    terms = build(name).terms(make_step(build(name), progress, unlabeled=1))
    assert all(torch.isfinite(term) for term in terms.values())


def test_pseudo_labels_are_plugged_into_the_intended_networks(host, name):
    step = make_step(host)
    host.terms(step)
    plugged = host.plugged(step, step.weak)
    assert all(logits.shape == (2, CLASSES, 8, 8, 8) for logits, _ in plugged)
    total = sum(
        (logits * (1 if w is None else w.unsqueeze(1))).square().sum() for logits, w in plugged
    )
    assert reached(step, total) == PLUG.get(name, STUDENT)
    unmixed = any(logits is step.student(step.weak) for logits, _ in plugged)
    assert unmixed == (name != "bcp")


def test_the_teacher_is_neither_changed_nor_given_gradients(host):
    step = make_step(host)
    before = {k: v.clone() for k, v in step.teacher.module.state_dict().items()}
    sum(host.terms(step).values()).backward()
    for key, value in step.teacher.module.state_dict().items():
        if value.is_floating_point():
            assert torch.equal(value, before[key]), key
    assert all(p.grad is None for p in step.teacher.module.parameters())


def test_labeled_and_unlabeled_crops_never_share_a_pass(host, name):
    step = make_step(host, labeled=1, unlabeled=2)
    host.terms(step)
    assert set(step.student.batches) <= ({1, 2, 4} if name in MIXERS else {1, 2})


def test_supervised_term_ignores_what_the_unlabeled_crops_are(host, name):
    if name in MIXERS:
        return
    plain, other = make_step(host, seed=1), make_step(host, seed=1)
    other.weak.mul_(7).add_(3)
    other.strong.mul_(7).add_(3)
    torch.manual_seed(0)  # dropout of side heads
    first = host.terms(plain)["supervised"]
    torch.manual_seed(0)
    assert first == host.terms(other)["supervised"]


def test_without_unlabeled_crops_only_terms_of_the_labeled_ones_are_left(host, name):
    step = make_step(host, unlabeled=0)
    terms = host.terms(step)
    assert all(key == "distance" or key.startswith("supervised") for key in terms)
    if name not in {"bcp", "urpc", "cct"}:  # mixed, or the mean over several decoders
        expected = segmentation_loss(step.student.net(step.image), step.mask)
        assert terms["supervised"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_batch_with_nothing_annotated_is_finite(host):
    terms = host.terms(make_step(host, ignored=True))
    assert terms["supervised"].item() == 0
    assert all(torch.isfinite(term) for term in terms.values())


def test_the_generator_and_dropout_are_the_only_randomness(host, name):
    values = []
    for draw in (3, 3, 4):
        step = make_step(host, seed=3, draw=draw)
        torch.manual_seed(9)
        values.append(_values(host.terms(step)))
    assert values[0] == values[1]
    assert (values[0] != values[2]) == (name in DRAWS)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("fixmatch", {"threshold": 1.0}),
        ("unimatch", {"threshold": 1.0}),
        ("ac_mt", {"start": 1.0, "end": 1.0}),
        ("ua_mt", {"start": 0.0}),
    ],
)
def test_no_believed_voxel_is_a_zero_and_no_nan(name, chosen):
    host = build(name, chosen)
    step = make_step(host, progress=0.0)
    terms = host.terms(step)
    sum(terms.values()).backward()
    others = [term.item() for key, term in terms.items() if key != "supervised"]
    assert max(others) < 1e-4
    assert all(torch.isfinite(p.grad).all() for p in step.student.net.parameters())
