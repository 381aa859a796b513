"""Mosaics of labeled volumes for fine-tuning, freshly augmented at every draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from loops.tuning.bezier import bezier_slices
from salearn.cases import IGNORE
from salearn.data.augment import AugmentSettings, augment
from salearn.data.patches import Example
from salearn.errors import TrainingError
from salearn.models.pixels import Window, three_channels
from salearn.mosaic import MosaicStitcher

Pick = Callable[[int, np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]
MOST_EMPTY = 20  # volumes without anything annotated in view, one after the other


@dataclass(frozen=True, eq=False)
class _Volume:
    case_id: str
    image: Float[Tensor, "1 channel x y z"]
    mask: Int[Tensor, "1 x y z"]
    window: Window


class LabeledMosaics:
    """Labeled volumes that are augmented in 3-D first, and stitched then.

    Args:
        canvas, token: input size and patch of the model, pixels.
        bezier: random intensity map of half of the slices, see `FinetuneSettings`.
        window: of all volumes (CT), in place of one from each volume's own intensities.
    """

    def __init__(
        self,
        labeled: Sequence[Example],
        stitcher: MosaicStitcher,
        views: AugmentSettings,
        canvas: int,
        token: int,
        bezier: Literal["off", "unit", "zscored"] = "off",
        window: Window | None = None,
    ) -> None:
        self._volumes = [_volume(example, window) for example in labeled]
        self._stitcher = stitcher
        self._views = views
        self._size = (canvas, token)
        self._bezier: Literal["off", "unit", "zscored"] = bezier

    def __len__(self) -> int:
        """How many volumes."""
        return len(self._volumes)

    def plain(
        self, index: int
    ) -> tuple[Float[np.ndarray, "mosaic channel h w"], UInt8[np.ndarray, "mosaic h w"]]:
        """The mosaics of a volume without augmentation, and their masks."""
        volume = self._volumes[index]
        x, y, z = volume.mask.shape[1:]
        layout = self._stitcher.layout((x, y, z), *self._size)
        stitched = layout.stitch(volume.window.scaled(volume.image[0].numpy()))
        return stitched, layout.stitch_mask(volume.mask[0].numpy().astype(np.uint8))

    def draw(
        self, batch: int, rng: np.random.Generator, pick: Pick | None = None
    ) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b h w"], list[str]]:
        """Mosaics that show something annotated, their masks, and the cases they are from.

        Args:
            pick: which annotated mosaics of a volume are taken; None = any.

        Raises:
            TrainingError: the augmentation turns everything annotated out of sight.
        """
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        order = rng.permutation(len(self._volumes))
        images: list[np.ndarray] = []
        masks: list[np.ndarray] = []
        cases: list[str] = []
        while len(images) < batch:
            index = int(order[len(cases) % len(order)])
            volume = self._volumes[index]
            cases.append(volume.case_id)
            image, mask = self._view(volume, generator, rng)
            used = np.flatnonzero((mask != IGNORE).any(axis=(1, 2)))
            if len(cases) - len(images) > MOST_EMPTY:
                raise TrainingError(
                    f"fine-tuning: the augmentation leaves nothing annotated in {cases[-3:]}; "
                    "make finetune.augment weaker"
                )
            room = batch - len(images)
            chosen = pick(index, mask, used, room, rng) if pick else rng.permutation(used)[:room]
            images.extend(image[chosen])
            masks.extend(mask[chosen])
        target = torch.from_numpy(np.stack(masks).astype(np.int64))
        return three_channels(torch.from_numpy(np.stack(images))), target, cases

    def _view(
        self, volume: _Volume, generator: torch.Generator, rng: np.random.Generator
    ) -> tuple[Float[np.ndarray, "mosaic channel h w"], UInt8[np.ndarray, "mosaic h w"]]:
        image, mask = augment(volume.image, volume.mask, self._views, generator)
        x, y, z = volume.mask.shape[1:]
        layout = self._stitcher.layout((x, y, z), *self._size)
        voxels: np.ndarray = image[0].numpy()
        if self._bezier != "off":
            voxels = bezier_slices(voxels, self._stitcher.axis, self._bezier, rng)
        stitched = layout.stitch(volume.window.scaled(voxels))
        return stitched, layout.stitch_mask(mask[0].numpy().astype(np.uint8))


def _volume(example: Example, window: Window | None) -> _Volume:
    image = np.array(example.image, dtype=np.float32)  # a copy: it may be a read-only memory map
    mask = torch.from_numpy(np.asarray(example.mask, dtype=np.int64))
    shown = window or Window.of(image)
    return _Volume(example.case_id, torch.from_numpy(image)[None], mask[None], shown)


def check_labeled(labeled: Sequence[Example], num_prompts: int) -> None:
    """Refuse what cannot be trained on.

    Raises:
        TrainingError: no volume, a case without annotated voxels, with intensities that are not
            finite, or with a class that has no prompt.
    """
    if not labeled:
        raise TrainingError("fine-tuning: no labeled volume; annotate at least one")
    for example in labeled:
        problem = _problem(example, num_prompts)
        if problem:
            raise TrainingError(f"fine-tuning: case {example.case_id} {problem}")


def _problem(example: Example, num_prompts: int) -> str | None:
    known = np.unique(example.mask) if example.mask is not None else np.array([IGNORE])
    known = known[known != IGNORE]
    if not len(known):
        return "has no annotated voxel"
    if known.max() > num_prompts:
        return f"has class {known.max()}, but there are only {num_prompts} prompts"
    if not np.isfinite(example.image).all():
        return "has an image with NaN or infinite values; `salearn data check` lists such files"
    return None
