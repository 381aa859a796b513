"""Whole-volume inference at 50 % overlap against a plain loop over windows, batch 1.

Both weigh windows by the same Gaussian. The references' loop weighs them equally, at the same cost:
its labels differed from ours in about 1 % of the voxels for a network of 25 to 40 steps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.bench_student import student
from benchmarks.common import Other, Row, compare, emit, one_thread

if TYPE_CHECKING:
    from torch import nn

VOLUME, WINDOW = (90, 68, 44), (64, 64, 32)  # the left atrium at half resolution
AGREEMENT = 0.999


def ours(net: nn.Module, image: np.ndarray) -> Callable[[], np.ndarray]:
    from salearn.models.infer import InferenceSettings, predict_volumes

    settings = InferenceSettings(whole_below=0, window=WINDOW, overlap=0.5)
    return lambda: next(iter(predict_volumes(net, [image], 8, (24, 32, 24), settings)))


def plain(net: nn.Module, image: np.ndarray) -> Callable[[], np.ndarray]:
    """One window after the other."""
    import torch
    from monai.data.utils import compute_importance_map

    weight = compute_importance_map(WINDOW, mode="gaussian", sigma_scale=0.125).numpy()

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
                total[(slice(None), *part)] += weight * torch.softmax(net(window), 1)[0].numpy()
            seen[part] += weight
        return np.asarray(total / seen)

    return run


def rows() -> list[Row]:
    """CPU-seconds and memory; the labels must agree in 99.9 % of the voxels."""
    with one_thread():
        net = student()
        image = np.random.default_rng(0).normal(size=(1, *VOLUME)).astype(np.float32)
        mine, theirs = ours(net, image), plain(net, image)
        labels = [run().argmax(axis=0) for run in (mine, theirs)]
        agreement = float((labels[0] == labels[1]).mean())
        if agreement < AGREEMENT:
            raise ArithmeticError(f"windows: labels agree in {agreement:.4%} of the voxels")
        what = f"predict 90x68x44, windows 64x64x32 at 50 %: labels agree {agreement:.3%}"
        other = Other(name="loop over windows, batch 1", run=theirs, tolerance=1e-5)
        return compare("windows", what, mine, [other], 3)


if __name__ == "__main__":
    emit(rows())
