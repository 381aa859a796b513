"""Mosaics of labeled volumes for fine-tuning, freshly augmented at every draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from loops.tuning.bezier import bezier_slices
from salearn.cases import IGNORE
from salearn.data.augment import AugmentSettings, augment, changes, random_grid, warp
from salearn.data.patches import Example
from salearn.errors import TrainingError
from salearn.models.pixels import Window, three_channels
from salearn.models.sam3 import Sam
from salearn.mosaic import MosaicLayout, MosaicStitcher

Pick = Callable[[int, np.ndarray, np.ndarray, int, np.random.Generator], np.ndarray]
Maps = Callable[[int], np.ndarray]
Answer = Callable[..., tuple[Tensor, Tensor | None]]  # as Sam.answer
MOST_EMPTY = 20  # volumes without anything annotated in view, one after the other


@dataclass(frozen=True, eq=False)
class _Volume:
    case_id: str
    image: Float[Tensor, "1 channel x y z"]
    mask: Int[Tensor, "1 x y z"]
    window: Window
    spacing: tuple[float, float, float] | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """Mosaics of one step.

    Attributes:
        images: "b 3 h w", or what the frozen blocks of the model make of them.
        cases: that were looked at for them, in order.
        maps: what `sample` was asked to carry along, moved as image and mask were.
    """

    images: Float[Tensor, "b *shown"]
    target: Int[Tensor, "b h w"]
    cases: list[str]
    maps: Float[Tensor, "b map h w"] | None


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

    @property
    def axis(self) -> int:
        """Along which volumes are sliced."""
        return self._stitcher.axis

    @property
    def random(self) -> bool:
        """Whether two views of a volume differ."""
        return self._bezier != "off" or changes(self._views)

    @property
    def cases(self) -> list[str]:
        """Case of each volume."""
        return [volume.case_id for volume in self._volumes]

    # What a training does with any mosaics; those with a cache (loops.tuning.cache) do more.

    def answer(self, sam: Sam) -> Answer:
        """What of a model answers to what `sample` shows."""
        return sam.answer

    def open(self, work: Path, state: Mapping[str, Any] | None) -> None:
        """Before the first draw; `state` is what the checkpoint has of `state()`."""

    def close(self) -> None:
        """After the last draw."""

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {}

    def told(self) -> dict[str, Any] | None:
        """What the record says, if anything."""
        return None

    def plain(
        self, index: int
    ) -> tuple[Float[np.ndarray, "mosaic channel h w"], UInt8[np.ndarray, "mosaic h w"]]:
        """The mosaics of a volume without augmentation, and their masks."""
        layout, mask = self.layout(index), self.mask(index)
        return layout.stitch(self._shown(index)), layout.stitch_mask(mask)

    def layout(self, index: int) -> MosaicLayout:
        """Where the slices of a volume lie."""
        x, y, z = self._volumes[index].mask.shape[1:]
        return self._stitcher.layout((x, y, z), *self._size)

    def mask(self, index: int) -> UInt8[np.ndarray, "x y z"]:
        """What is annotated of a volume."""
        return self._volumes[index].mask[0].numpy().astype(np.uint8)

    def gray(self, index: int) -> Float[np.ndarray, "x y z"]:
        """A volume as it is shown, without augmentation, the mean of its channels."""
        mean: np.ndarray = self._shown(index).mean(axis=0)
        return mean

    def spacing(self, index: int) -> tuple[float, float, float]:
        """Of a volume, mm.

        Raises:
            TrainingError: it was not given.
        """
        volume = self._volumes[index]
        if volume.spacing is None:
            raise TrainingError(
                f"fine-tuning: mining.boundary and mining.guards measure in mm, and case "
                f"{volume.case_id} came without a spacing (Example.spacing)"
            )
        return volume.spacing

    def _shown(self, index: int) -> Float[np.ndarray, "channel x y z"]:
        volume = self._volumes[index]
        return volume.window.scaled(volume.image[0].numpy())

    def draw(
        self, batch: int, rng: np.random.Generator, pick: Pick | None = None
    ) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, "b h w"], list[str]]:
        """`sample` with nothing carried along."""
        drawn = self.sample(batch, rng, pick)
        return drawn.images, drawn.target, drawn.cases

    def sample(
        self,
        batch: int,
        rng: np.random.Generator,
        pick: Pick | None = None,
        maps: Maps | None = None,
    ) -> Drawn:
        """Mosaics that show something annotated, their masks, and the cases they are from.

        Args:
            pick: which annotated mosaics of a volume are taken; None = any.
            maps: further maps "map x y z" of a volume, to be carried along.

        Raises:
            TrainingError: the augmentation turns everything annotated out of sight.
        """
        generator = torch.Generator().manual_seed(int(rng.integers(2**63)))
        order = rng.permutation(len(self._volumes))
        parts: list[list[np.ndarray]] = [[], [], []]
        cases: list[str] = []
        empty = 0
        while len(parts[0]) < batch:
            index = int(order[len(cases) % len(order)])
            cases.append(self._volumes[index].case_id)
            view = self._view(index, generator, rng, maps)
            used = np.flatnonzero((view[1] != IGNORE).any(axis=(1, 2)))
            empty = 0 if len(used) else empty + 1
            if empty > MOST_EMPTY:
                raise TrainingError(
                    f"fine-tuning: the augmentation leaves nothing annotated in {cases[-3:]}; "
                    "make finetune.augment weaker"
                )
            room = batch - len(parts[0])
            chosen = pick(index, view[1], used, room, rng) if pick else rng.permutation(used)[:room]
            for part, seen in zip(parts, view, strict=False):
                part.extend(seen[chosen])
        return Drawn(
            images=self._joined(parts[0]),
            target=torch.from_numpy(np.stack(parts[1]).astype(np.int64)),
            cases=cases,
            maps=torch.from_numpy(np.stack(parts[2])) if maps else None,
        )

    def _joined(self, parts: Sequence[np.ndarray]) -> Float[Tensor, "b 3 h w"]:
        return three_channels(torch.from_numpy(np.stack(parts)))

    def _view(
        self, index: int, generator: torch.Generator, rng: np.random.Generator, maps: Maps | None
    ) -> list[np.ndarray]:
        """Image "mosaic channel h w", mask "mosaic h w" and, if asked for, maps, augmented."""
        volume, before = self._volumes[index], generator.get_state()
        image, mask = augment(volume.image, volume.mask, self._views, generator)
        layout = self.layout(index)
        voxels: np.ndarray = image[0].numpy()
        if self._bezier != "off":
            voxels = bezier_slices(voxels, self._stitcher.axis, self._bezier, rng)
        view = [
            layout.stitch(volume.window.scaled(voxels)),
            layout.stitch_mask(mask[0].numpy().astype(np.uint8)),
        ]
        if maps is not None:
            view.append(layout.stitch(self._moved(maps(index), before)))
        return view

    def _moved(
        self, maps: Float[np.ndarray, "map x y z"], state: Tensor
    ) -> Float[np.ndarray, "map x y z"]:
        """The maps under the random map of space that `augment` drew from this state."""
        generator = torch.Generator()
        generator.set_state(state)
        x, y, z = maps.shape[1:]
        grid = random_grid(1, (x, y, z), (x, y, z), self._views, generator)
        moved: np.ndarray = warp(torch.from_numpy(maps)[None], grid)[0].numpy()
        return moved


def _volume(example: Example, window: Window | None) -> _Volume:
    image = np.array(example.image, dtype=np.float32)  # a copy: it may be a read-only memory map
    mask = torch.from_numpy(np.asarray(example.mask, dtype=np.int64))
    shown = window or Window.of(image)
    pixels = torch.from_numpy(image)[None]
    return _Volume(example.case_id, pixels, mask[None], shown, example.spacing)


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
