"""A Mean Teacher step, crops and augmentation included, against one in the references' way."""

from __future__ import annotations

import copy
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import Other, Row, compare, emit, one_thread

if TYPE_CHECKING:
    from torch import Tensor

CASES = 6  # the first is labeled
CLASSES = 3
PATCH = (32, 48, 32)
VOLUME = (112, 112, 80)
DECAY = 0.99


def write_cases(folder: Path) -> None:
    """Each case as the references have it (image and mask, compressed) and as our cache (.npy)."""
    rng = np.random.default_rng(0)
    for index in range(CASES):
        image = rng.normal(size=VOLUME).astype(np.float32)
        mask = (rng.random(VOLUME) < 0.2).astype(np.uint8) + (image > 1)
        np.savez_compressed(folder / f"{index}.npz", image=image, mask=mask)
        np.save(folder / f"{index}.npy", image[None])
        np.save(folder / f"{index}_mask.npy", mask)


def our_step(folder: Path, width: int, augmented: bool) -> Callable[[], Any]:
    """The trainer with the references' network, optimiser and loss; images are memory maps."""
    from loops.learning.student_settings import StudentSettings
    from loops.learning.training import Task, Trainer
    from loops.ssl.registry import build
    from salearn.cases import CaseId
    from salearn.data.augment import NO_AUGMENT, AugmentSettings
    from salearn.data.patches import Example

    images = [np.load(folder / f"{i}.npy", mmap_mode="r") for i in range(CASES)]
    mask = np.load(folder / "0_mask.npy", mmap_mode="r")
    task = Task(
        labeled=[Example(case_id=CaseId("0"), image=images[0], mask=mask)],
        unlabeled=[Example(case_id=CaseId(str(i)), image=images[i]) for i in range(1, CASES)],
        channels=1,
        num_classes=CLASSES,
        host=build("mean_teacher", {"ema_decay": DECAY}),
        pseudo=None,
        seed=0,
    )
    settings = StudentSettings(
        width=width,
        depth=4,
        activation="relu",
        patch=PATCH,
        optimiser="sgd",
        learning_rate=0.01,
        augment=AugmentSettings() if augmented else NO_AUGMENT,
    )
    return Trainer(task, settings).step


@dataclass
class Files:
    """Reads and unpacks a whole case for each crop, as a data set of h5 files does."""

    folder: Path
    rng: np.random.Generator

    def crop(self, case: int) -> tuple[np.ndarray, np.ndarray]:
        with np.load(self.folder / f"{case}.npz") as file:
            image, mask = file["image"], file["mask"]
        start = [int(self.rng.integers(0, s - p)) for s, p in zip(VOLUME, PATCH, strict=True)]
        x, y, z = (slice(a, a + p) for a, p in zip(start, PATCH, strict=True))
        flips = int(self.rng.integers(0, 2))  # sides differ: a half turn in place of a quarter
        image, mask = (np.rot90(a[x, y, z], 2 * flips) for a in (image, mask))
        axis = int(self.rng.integers(0, 2))
        return np.flip(image, axis).copy(), np.flip(mask, axis).astype(np.int64)

    def batch(self) -> tuple[Tensor, Tensor]:
        import torch

        cases = [0, 0, *self.rng.integers(1, CASES, 2).tolist()]
        images, masks = zip(*(self.crop(case) for case in cases), strict=True)
        return torch.from_numpy(np.stack(images)[:, None]), torch.from_numpy(np.stack(masks))


def reference_step(folder: Path, width: int) -> Callable[[], Any]:
    """One joint batch of labeled and unlabeled crops, teacher without autograd, EMA in a loop."""
    import torch
    from torch.nn import functional

    from benchmarks.plain_vnet import PlainVNet, plain_ema, plain_loss

    torch.manual_seed(0)
    net = PlainVNet(1, CLASSES, width)
    teacher = copy.deepcopy(net)
    for value in teacher.parameters():
        value.detach_()
    optimiser = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    files, updates = Files(folder, np.random.default_rng(0)), itertools.count()

    def step() -> float:
        image, mask = files.batch()
        noise = torch.clamp(0.1 * torch.randn_like(image[2:]), -0.2, 0.2)
        logits = net(image)
        with torch.no_grad():
            soft = functional.softmax(teacher(image[2:] + noise), dim=1)
        consistency = ((functional.softmax(logits[2:], dim=1) - soft) ** 2).mean()
        loss = plain_loss(logits[:2], mask[:2]) + 0.1 * consistency
        optimiser.zero_grad()
        torch.autograd.backward([loss])
        optimiser.step()
        plain_ema(teacher, net, DECAY, next(updates))
        return float(loss)

    return step


def steps(folder: Path, width: int, augmented: bool = True) -> list[Row]:
    """Answers are not compared: the two draw other crops and other views of them."""
    name = "joint batch, EMA loop, files read and unpacked in each step"
    other = Other(name=name, run=reference_step(folder, width))
    views = "" if augmented else ", ours without augmentation"
    what = f"Mean Teacher step, width {width}, 2+2 x 32x48x32{views}"
    return compare("hosts", what, our_step(folder, width, augmented), [other], 5)


def rows() -> list[Row]:
    """Mean Teacher at both widths; the other flips its crops, ours also turns and scales them."""
    with one_thread(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_cases(folder)
        return [*steps(folder, 16), *steps(folder, 16, augmented=False), *steps(folder, 8)]


if __name__ == "__main__":
    emit(rows())
