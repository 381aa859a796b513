"""Training steps of the student and its prediction of volumes, against MONAI and plain code."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import Other, Row, alone, compare, emit, one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

CROPS = (4, 32, 48, 32)
CLASSES = 3
DECAY = 0.97
WHOLE = 6  # hippocampus volumes that are predicted
Weights = list[Any]


def batch(crops: tuple[int, ...] = CROPS) -> tuple[Tensor, Tensor]:
    import torch

    generator = torch.Generator().manual_seed(0)
    image = torch.randn(crops[0], 1, *crops[1:], generator=generator)
    return image, torch.randint(CLASSES, crops, generator=generator)


def sgd(net: nn.Module) -> Any:
    import torch

    return torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)


def literature(width: int) -> nn.Module:
    """Our V-Net at the paper's setting, without dropout so that answers can be compared."""
    import torch

    from salearn.models.vnet import VNet, VNetSettings

    torch.manual_seed(0)
    return VNet(1, CLASSES, VNetSettings(width=width, depth=4, activation="relu"))


def our_step(width: int, crops: tuple[int, ...] = CROPS) -> Callable[[], Weights]:
    """Forward, loss, backward, SGD and teacher; gives the teacher's weights."""
    import torch

    from salearn.losses import segmentation_loss
    from salearn.models.ema import Ema

    net, (image, mask) = literature(width).train(), batch(crops)
    teacher, optimiser = Ema(net, DECAY), sgd(net)

    def step() -> Weights:
        optimiser.zero_grad()
        torch.autograd.backward([segmentation_loss(net(image), mask)])
        optimiser.step()
        teacher.update(net)
        return list(teacher.module.parameters())

    return step


def plain_step(width: int, crops: tuple[int, ...] = CROPS) -> Callable[[], Weights]:
    import torch

    from benchmarks.plain_vnet import PlainVNet, plain_ema, plain_loss

    net, (image, mask) = PlainVNet(1, CLASSES, width), batch(crops)
    net.take(literature(width))
    teacher = copy.deepcopy(net).requires_grad_(False)
    optimiser, updates = sgd(net), itertools.count()

    def step() -> Weights:
        optimiser.zero_grad()
        torch.autograd.backward([plain_loss(net(image), mask)])
        optimiser.step()
        plain_ema(teacher, net, DECAY, next(updates))
        return list(teacher.parameters())

    return step


def monai_step(crops: tuple[int, ...] = CROPS) -> Callable[[], None]:
    """MONAI's V-Net and loss; another and larger network (45.6 M weights), and no teacher."""
    from monai.losses import DiceCELoss
    from monai.networks.nets import VNet

    net, (image, mask) = VNet(in_channels=1, out_channels=CLASSES).train(), batch(crops)
    loss, optimiser = DiceCELoss(to_onehot_y=True, softmax=True, squared_pred=True), sgd(net)

    def step() -> None:
        optimiser.zero_grad()
        loss(net(image), mask[:, None]).backward()
        optimiser.step()

    return step


def steps(width: int) -> list[Row]:
    others = [
        Other(name="the same V-Net in plain torch", run=plain_step(width), tolerance=1e-4),
        Other(name="MONAI VNet (5x5x5, no teacher)", run=monai_step()),
    ]
    what = f"step, width {width}, 4 x 32x48x32"
    return compare("student", what, our_step(width), others, 3)


def student() -> nn.Module:
    """The default student: width 8, depth 3."""
    import torch

    from loops.learning.student_settings import StudentSettings
    from salearn.models.vnet import VNet

    torch.manual_seed(0)
    return VNet(1, CLASSES, StudentSettings().net).eval().requires_grad_(False)


def prediction(what: str, volumes: list[np.ndarray], other: Other, **values: Any) -> list[Row]:
    from salearn.models.infer import InferenceSettings, predict_volumes

    net, settings = student(), InferenceSettings(**values)
    arguments = (net, volumes, 8, (24, 32, 24), settings)
    return compare("student", what, lambda: list(predict_volumes(*arguments)), [other], 5)


def whole() -> list[Row]:
    """Small volumes in one pass: four at a time against one at a time."""
    import torch

    rng = np.random.default_rng(0)
    volumes = [rng.normal(size=(1, 40, 48, 40)).astype(np.float32) for _ in range(WHOLE)]
    net = student()

    def one_by_one() -> list[np.ndarray]:
        with torch.inference_mode():
            return [torch.softmax(net(torch.from_numpy(v)[None]), 1)[0].numpy() for v in volumes]

    other = Other(name="the same net, batch 1", run=one_by_one, tolerance=1e-5)
    return prediction(f"predict {WHOLE} volumes 40x48x40", volumes, other)


def windows() -> list[Row]:
    """A larger volume in windows: four at a time against MONAI's loop, one at a time."""
    import torch
    from monai.inferers import sliding_window_inference

    volume = np.random.default_rng(0).normal(size=(1, 90, 68, 44)).astype(np.float32)
    net, window = student(), (64, 64, 32)

    def one_by_one() -> list[np.ndarray]:
        with torch.inference_mode():
            soft: Any = sliding_window_inference(
                torch.from_numpy(volume)[None],
                window,
                1,
                lambda part: torch.softmax(net(part), 1),
                overlap=0.5,
                mode="gaussian",
            )
        return [soft[0].numpy()]

    name = "the same net, MONAI sliding window, batch 1"
    other = Other(name=name, run=one_by_one, tolerance=1e-5)
    what = "predict 90x68x44 in windows"
    return prediction(what, [volume], other, whole_below=0, window=window)


def mean_teacher() -> Row:
    """A whole step of Mean Teacher at the default settings, crops and augmentation included."""
    from loops.learning.student_settings import StudentSettings
    from loops.learning.training import Task, Trainer
    from loops.ssl.registry import build
    from salearn.cases import CaseId
    from salearn.data.patches import Example

    rng = np.random.default_rng(0)
    image = rng.normal(size=(1, 35, 50, 36)).astype(np.float32)
    mask = rng.integers(0, CLASSES, image.shape[1:]).astype(np.uint8)
    task = Task(
        labeled=[Example(case_id=CaseId("labeled"), image=image, mask=mask)],
        unlabeled=[Example(case_id=CaseId("unlabeled"), image=image)],
        channels=1,
        num_classes=CLASSES,
        host=build("mean_teacher", {}),
        pseudo=None,
        seed=0,
    )
    trainer = Trainer(task, StudentSettings())
    return alone("student", "Mean Teacher step, width 8, 2+2 x 24x32x24", trainer.step, 9)


def rows() -> list[Row]:
    """Steps of both widths, prediction whole and in windows, a step of Mean Teacher."""
    with one_thread():
        return [*steps(16), *steps(8), *whole(), *windows(), mean_teacher()]


if __name__ == "__main__":
    emit(rows())
