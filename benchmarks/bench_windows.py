"""Whole-volume inference at 50 % overlap against the references' loop over windows, batch 1."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.common import Other, Row, compare, emit, one_thread

if TYPE_CHECKING:
    from torch import nn

VOLUME, WINDOW = (90, 68, 44), (64, 64, 32)  # the left atrium at half resolution
AGREEMENT = 0.999
STEPS = 40


def body() -> tuple[np.ndarray, np.ndarray]:
    """A noisy image of two structures, and their mask."""
    rng = np.random.default_rng(0)
    grid = np.indices(VOLUME) - np.array([45, 34, 22]).reshape(3, 1, 1, 1)
    size = np.sqrt(((grid / np.array([26, 20, 13]).reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    mask = (size < 1).astype(np.int64) + ((size < 1) & (grid[0] > 0))
    image = mask + rng.normal(0, 0.15, VOLUME)
    return image[None].astype(np.float32), mask


def trained() -> nn.Module:
    """The default student after some steps on crops: of random weights no label is certain."""
    import torch

    from loops.learning.student_settings import StudentSettings
    from salearn.losses import segmentation_loss
    from salearn.models.vnet import VNet

    torch.manual_seed(0)
    net, (image, mask) = VNet(1, 3, StudentSettings().net), body()
    optimiser, rng = torch.optim.AdamW(net.parameters(), lr=3e-3), np.random.default_rng(1)
    for _ in range(STEPS):
        corners = rng.integers(0, np.array(VOLUME) - (32, 32, 24), (2, 3)).tolist()
        parts = [(slice(x, x + 32), slice(y, y + 32), slice(z, z + 24)) for x, y, z in corners]
        crops = torch.from_numpy(np.stack([image[(slice(None), *part)] for part in parts]))
        loss = segmentation_loss(net(crops), torch.from_numpy(np.stack([mask[p] for p in parts])))
        optimiser.zero_grad()
        torch.autograd.backward([loss])
        optimiser.step()
    return net.eval().requires_grad_(False)


def ours(net: nn.Module, image: np.ndarray) -> Callable[[], np.ndarray]:
    from salearn.models.infer import InferenceSettings, predict_volumes

    settings = InferenceSettings(whole_below=0, window=WINDOW, overlap=0.5)
    return lambda: next(iter(predict_volumes(net, [image], 8, (24, 32, 24), settings)))


def plain(net: nn.Module, image: np.ndarray) -> Callable[[], np.ndarray]:
    """One window after the other, all equal, as the references' `test_single_case` does."""
    import torch

    def starts(side: int, window: int) -> list[int]:
        found = list(range(0, max(side - window, 0) + 1, window // 2))
        return found if found[-1] + window >= side else [*found, side - window]

    def run() -> np.ndarray:
        total, seen = np.zeros((3, *VOLUME), np.float32), np.zeros(VOLUME, np.float32)
        corners = itertools.product(*map(starts, VOLUME, WINDOW))
        for corner in corners:
            part = tuple(slice(a, a + w) for a, w in zip(corner, WINDOW, strict=True))
            with torch.no_grad():
                window: Any = torch.from_numpy(image[(slice(None), *part)].copy())[None]
                total[(slice(None), *part)] += torch.softmax(net(window), 1)[0].numpy()
            seen[part] += 1
        return np.asarray(total / seen)

    return run


def rows() -> list[Row]:
    """CPU-seconds and memory; the labels must agree in 99.9 % of the voxels."""
    with one_thread():
        net, (image, _) = trained(), body()
        mine, theirs = ours(net, image), plain(net, image)
        labels = [run().argmax(axis=0) for run in (mine, theirs)]
        agreement = float((labels[0] == labels[1]).mean())
        if agreement < AGREEMENT or len(np.unique(labels[0])) < 3:
            raise ArithmeticError(f"windows: labels agree in {agreement:.4%} of the voxels")
        what = f"predict 90x68x44, windows 64x64x32 at 50 %: labels agree {agreement:.3%}"
        other = Other(name="loop over windows, batch 1, uniform weights", run=theirs)
        return compare("windows", what, mine, [other], 3)


if __name__ == "__main__":
    emit(rows())
