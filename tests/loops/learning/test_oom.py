"""A batch that does not fit passes in portions, and the training is the one it would have been."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from torch import Tensor, nn

from loops.config import parse_run
from loops.finetune import FinetuneSettings, finetune
from loops.learning.oom import Portions, is_out_of_memory
from loops.learning.task import make_task
from loops.learning.training import Trainer
from loops.progress import Progress
from loops.ssl.registry import HOSTS
from loops.stitch import Stitcher, StitchSettings
from loops.student import StudentSettings, train_student
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.data.patches import Example
from salearn.errors import TrainingError
from salearn.models.checkpoint import load_state
from salearn.models.lora import LoraSettings
from salearn.models.sam3 import Sam, SamSettings, load_sam
from salearn.models.vnet import VNet
from salearn.store import read_json, read_lines, write_json


def examples(labeled: int, unlabeled: int) -> tuple[list[Example], list[Example]]:
    rng = np.random.default_rng(0)

    def one(i: int, masked: bool) -> Example:
        image = rng.normal(size=(1, 16, 16, 16)).astype(np.float32)
        mask = (image[0] > 0.5).astype(np.uint8)
        return Example(case_id=CaseId(f"c{i}"), image=image, mask=mask if masked else None)

    return [one(i, True) for i in range(labeled)], [one(9 + i, False) for i in range(unlabeled)]


def settings(**changes: Any) -> StudentSettings:
    small = {"width": 4, "depth": 2, "patch": (8, 8, 8), "iterations": 3, "norm": "group"}
    return StudentSettings(**(small | changes))


def trainer(host: str, part: int | None = None, **changes: Any) -> Trainer:
    torch.manual_seed(0)
    task = make_task(*examples(2, 2), 2, settings(**changes), HOSTS.build(host, {}), None, 0)
    made = Trainer(task, settings(**changes))
    made.portions.part = part
    made.iteration = 2  # beyond ramps and first parts
    return made


def gradients(made: Trainer) -> dict[str, Tensor]:
    made._descend(made.labeled_view(), made.unlabeled_view())
    return {
        f"{net} {name}": p.grad
        for net, module in made.nets.items()
        for name, p in module.named_parameters()
        if p.grad is not None
    }


@pytest.mark.parametrize("host", ["bcp", "cct", "dtc", "cps"])
def test_portions_give_the_gradient_of_the_whole_batch(host: str) -> None:
    whole, parts = gradients(trainer(host)), gradients(trainer(host, part=1))
    assert whole.keys() == parts.keys()
    for name, gradient in whole.items():
        assert (gradient - parts[name]).norm() <= 2e-3 * gradient.norm() + 1e-6, name  # rounding


class Card:
    """Stands in for a card that holds a V-Net pass of at most `fits` crops."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fits: int, later: bool = False) -> None:
        self.passed: list[int] = []
        real = VNet.encode

        def encode(net: VNet, image: Tensor) -> list[Tensor]:
            self.passed.append(len(image))
            if net.training and len(image) > fits and (not later or len(self.passed) > 1):
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
            return real(net, image)

        monkeypatch.setattr(VNet, "encode", encode)


def trained(folder: Path, host: str = "mean_teacher", **changes: Any) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    how = settings(**changes)
    train_student(*examples(2, 2), 2, how, HOSTS.build(host, {}), None, folder, seed=0)
    return load_file(folder / "student.safetensors")


def test_a_training_on_a_full_card_ends_where_the_whole_batch_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    how: dict[str, Any] = {"optimiser": "sgd", "learning_rate": 0.01}  # adamw magnifies rounding
    calm = trained(tmp_path / "calm", **how)
    assert "oom" not in read_json(tmp_path / "calm" / "record.json")
    with caplog.at_level(logging.WARNING):
        # the labeled crops still fit, the unlabeled ones do not: half of a step is forgotten
        card = Card(monkeypatch, fits=1, later=True)
        full = trained(tmp_path / "full", **how)
    for name, weight in calm.items():
        torch.testing.assert_close(weight, full[name], rtol=1e-4, atol=1e-5)
    told = {"iteration": 0, "part": 1, "of": 2, "batch_norm": "none"}
    assert read_json(tmp_path / "full" / "record.json")["oom"] == told
    assert card.passed[:2] == [2, 2]
    assert set(card.passed[2:20]) == {1}  # from then on in halves
    assert "going on with 1, gradients added up" in caplog.text
    curves = [read_lines(tmp_path / name / "train.jsonl")[-1] for name in ("calm", "full")]
    assert curves[0]["supervised"] == pytest.approx(curves[1]["supervised"], rel=1e-4)


def test_batch_norm_keeps_each_portion_once_and_the_record_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Card(monkeypatch, fits=1)
    one = trainer("supervised", norm="batch")
    image = one.labeled_view().weak
    norm = nn.BatchNorm3d(4)
    net = VNet(1, 2, one.settings.net)
    net.load_state_dict(one.student.state_dict())
    for piece in image:  # what two passes of one crop leave behind
        net.train()(piece[None])
    again = trainer("supervised", norm="batch")
    again.step()  # fails with 2, goes on with 1; backward makes activations again
    counts = [b for name, b in again.student.named_buffers() if "tracked" in name]
    assert {int(count) for count in counts} == {2}
    first = dict(net.named_buffers())
    for name, buffer in again.student.named_buffers():
        torch.testing.assert_close(buffer, first[name], msg=name)
    assert again.portions.told is not None
    assert again.portions.told["batch_norm"] == "statistics of portions"
    assert "batch norm sees the smaller portions" in caplog.text
    again.statistics.begin()
    assert norm.momentum == next(
        m.momentum for m in again.student.modules() if isinstance(m, nn.BatchNorm3d)
    )


def test_a_continued_training_need_not_fail_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = trainer("supervised", part=1)
    made.portions.told = {"part": 1}
    torch.save(made.state(), tmp_path / "state.pt")
    other = trainer("supervised")
    state = load_state(tmp_path / "state.pt")
    assert state is not None
    other.restore(state)
    card = Card(monkeypatch, fits=1)
    other.step()
    assert card.passed == [1, 1, 1, 1]  # two crops forward, and again in the backward pass
    assert other.portions.told == {"part": 1}


def test_what_cannot_be_split_names_the_batch_sizes_to_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    Card(monkeypatch, fits=0)
    with pytest.raises(TrainingError, match=r"not even one example.*student\.patch"):
        trainer("supervised").step()
    whole = trainer("supervised")
    whole.portions.whole = "host x needs its batch whole (splittable=False)"
    with pytest.raises(TrainingError, match=r"host x.*student\.batch=1 student\.unlabeled_batch=1"):
        whole.step()
    assert all(HOSTS.cls(name).splittable for name in HOSTS.available())


def test_other_errors_are_not_hidden() -> None:
    portions = Portions(nets=[], generators={}, remedy="")

    def bad() -> None:
        raise RuntimeError("shape mismatch")

    with pytest.raises(RuntimeError, match="shape"):
        portions.step(0, bad)
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED"))


def test_a_full_card_stands_in_the_log_of_trainings(tmp_path: Path) -> None:
    bench = Workbench(parse_run(tiny.values(tmp_path), "tiny"), Progress(enabled=False))
    told = {"iteration": 0, "part": 1, "of": 2}
    bench.train_once(
        "students", "k", 0, lambda work, _: write_json(work / "record.json", {"oom": told})
    )
    (line,) = read_lines(bench.out / "trainings.jsonl")
    assert line == {"stage": "students", "key": "k", "round": 0, "oom": told}


def test_fine_tuning_on_a_full_card_has_the_losses_of_the_whole_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sam = load_sam(SamSettings(resolution=64), ("object",))
    given = FinetuneSettings(iterations=2, batch=2, log_every=1, learning_rate=1e-4)
    args = (examples(2, 0)[0], sam, LoraSettings(rank=2), Stitcher(StitchSettings(), 2), given)
    calm = finetune(*args, tmp_path / "calm", 0)
    real, passed = Sam.answer, []

    def answer(self: Sam, images: Tensor, presence: bool, further: Any = None) -> Any:
        passed.append(len(images))
        if len(images) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(self, images, presence, further)

    monkeypatch.setattr(Sam, "answer", answer)
    full = finetune(*args, tmp_path / "full", 0)
    assert passed == [2] + [1] * 8  # two mosaics, forward and again backward, in two steps
    assert "oom" not in calm
    assert full["oom"] == {"iteration": 0, "part": 1, "of": 2, "batch_norm": "none"}
    losses = [
        [line["loss"] for line in read_lines(tmp_path / name / "train.jsonl")]
        for name in ("calm", "full")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
