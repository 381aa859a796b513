"""Slice vectors in batches against one slice a forward through transformers' own encoder."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Other, Row, compare, emit, one_thread

SHAPE = (35, 50, 36)  # a hippocampus volume; slices along y


def volume() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(1, *SHAPE)).astype(np.float32)


def ours(image: np.ndarray, side: int, folder: Path) -> Callable[[], np.ndarray]:
    from salearn.features.embed import Embedder, EmbedSettings
    from salearn.models.sam3 import SamSettings, load_sam
    from salearn.store import Store

    sam = load_sam(SamSettings(), ["structure"])
    embedder = Embedder(lambda: sam, Store(folder), EmbedSettings(resolution=side), 1, "")
    # Without the store, which would answer the second call, and which rounds to float16.
    return lambda: embedder._embed(image, None)


def by_transformers(image: np.ndarray, side: int, neck: bool) -> Callable[[], np.ndarray]:
    """The same weights, preprocessing and pooling; `neck` = the whole public vision encoder."""
    from salearn.models.sam3 import SamSettings
    from salearn.models.sam3_weights import build_model

    model = build_model(SamSettings(resolution=side))[0].eval()
    encoder = model.vision_encoder if neck else model.vision_encoder.backbone
    return lambda: np.stack([one_slice(encoder, part, side) for part in scaled(image)])


def scaled(image: np.ndarray) -> np.ndarray:
    """Slices, intensities between the percentiles 0.5 and 99.5 brought to -1..1."""
    low, high = np.percentile(image, (0.5, 99.5))
    inside = np.clip((image[0] - low) * (2 / (high - low)) - 1, -1, 1)
    slices: np.ndarray = inside.astype(np.float32).swapaxes(0, 1)
    return slices


def one_slice(encoder: Callable[[Any], Any], part: np.ndarray, side: int) -> np.ndarray:
    import torch
    from torch.nn import functional

    with torch.inference_mode():
        height, width = part.shape
        y, x = max(part.shape) - height, max(part.shape) - width
        pixels = torch.from_numpy(np.ascontiguousarray(part))[None, None]
        pixels = functional.pad(pixels, [x // 2, x - x // 2, y // 2, y - y // 2], value=-1.0)
        pixels = functional.interpolate(
            pixels, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
        tokens = encoder(pixels.repeat(1, 3, 1, 1)).last_hidden_state[0]
        mean = functional.layer_norm(tokens, tokens.shape[-1:]).mean(0)
        vector: np.ndarray = (mean / mean.norm()).numpy()
    return vector


def comparison(side: int, rounds: int, folder: Path) -> list[Row]:
    image = volume()
    others = [
        Other(
            name=f"transformers Sam3Model, {part}, slice by slice",
            run=by_transformers(image, side, neck),
            tolerance=1e-5,
        )
        for part, neck in (("vision encoder", True), ("its backbone alone", False))
    ]
    what = f"{SHAPE[1]} slices at {side} pixels, mini SAM3"
    return compare("embed", what, ours(image, side, folder), others, rounds)


def rows() -> list[Row]:
    """Slices of one attention window, and of nine."""
    with one_thread(), tempfile.TemporaryDirectory() as folder:
        return [*comparison(32, 7, Path(folder)), *comparison(96, 5, Path(folder))]


if __name__ == "__main__":
    emit(rows())
