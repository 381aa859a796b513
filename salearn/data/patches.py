"""Training examples and the crops that are drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Generator, Tensor

from salearn.cases import IGNORE, CaseId
from salearn.errors import DataError, TrainingError

KEPT_VOXELS = 20_000  # voxel positions remembered for each class of a case, evenly spaced
Size = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Example:
    """One case as training sees it; arrays may be memory maps, RAS axes.

    Attributes:
        image: normalised intensities, float32.
        mask: classes 0..K-1, 255 = not annotated; None for an unlabeled case.
        pseudo: class probabilities (float16 as stored) of an unlabeled case, or None.
        confidence: how far `pseudo` is believed, 0..1.
        spacing: mm per voxel along x, y, z; None where nobody needs it.
    """

    case_id: CaseId
    image: Float[np.ndarray, "channel x y z"]
    mask: UInt8[np.ndarray, "x y z"] | None = None
    pseudo: Float[np.ndarray, "class x y z"] | None = None
    confidence: float = 1.0
    spacing: tuple[float, float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Crops:
    """A batch of crops.

    Attributes:
        mask: 255 where nobody annotated and outside the volume; an unlabeled crop has 0 inside.
        pseudo: None if no case of the batch has any; all 0 for a case without.
        confidence: of each crop's pseudo-label; 0 for a case without.
    """

    cases: tuple[CaseId, ...]
    image: Float[Tensor, "b channel x y z"]
    mask: Int[Tensor, "b x y z"]
    pseudo: Float[Tensor, "b class x y z"] | None
    confidence: Float[Tensor, " b"]


@dataclass
class CropSampler:
    """Draws batches of crops from labeled or unlabeled examples, cases with replacement.

    The patch lies inside the volume (anywhere, if the volume is smaller); `margin` voxels are read
    on each side of it as room for rotation. What lies outside the volume repeats its border in the
    image and is 255 in the mask.

    Args:
        examples: all with a mask, or all without.
        patch: size of the crops, voxels.
        margin: voxels added on each side; none along an axis where the patch is 1 voxel.
        foreground_share: share of the crops that are centred on a voxel of a random annotated
            class; the others are centred on any annotated voxel.
        distinct: the crops of a batch come from different cases; there must be enough of them.

    Raises:
        TrainingError: there is no example, or a labeled one has no annotated voxel.
    """

    examples: Sequence[Example]
    patch: Size
    margin: int = 0
    foreground_share: float = 0.0
    distinct: bool = False
    _targets: dict[int, _Targets] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        if not self.examples:
            raise TrainingError("there is no case to draw crops from; annotate at least one")

    def draw(self, batch: int, generator: Generator) -> Crops:
        """The next batch; `generator` is the only source of randomness."""
        count = len(self.examples)
        if self.distinct:
            indices = torch.randperm(count, generator=generator)[:batch].tolist()
        else:
            indices = torch.randint(count, (batch,), generator=generator).tolist()
        chosen = [self.examples[index] for index in indices]
        starts = [self._start(index, generator) for index in indices]
        return gather(chosen, starts, self._size(), self._classes())

    def _size(self) -> Size:
        x, y, z = (s + 2 * m for s, m in zip(self.patch, self._margins, strict=True))
        return x, y, z

    @property
    def _margins(self) -> Size:
        x, y, z = (self.margin if side > 1 else 0 for side in self.patch)
        return x, y, z

    def _classes(self) -> int:
        return next((len(e.pseudo) for e in self.examples if e.pseudo is not None), 0)

    def _start(self, index: int, generator: Generator) -> Size:
        """First voxel of the crop in the volume, margin included; may be negative."""
        example = self.examples[index]
        centre = None
        if example.mask is not None:
            centre = self._target(index).draw(self.foreground_share, generator)
        place = torch.rand(3, generator=generator).tolist()
        start = []
        for axis, (side, room) in enumerate(zip(self.patch, example.image.shape[1:], strict=True)):
            low, high = min(0, room - side), max(0, room - side)
            first = low + int(place[axis] * (high - low + 1))
            if centre is not None:
                first = min(max(centre[axis] - side // 2, low), high)
            start.append(first - self._margins[axis])
        return start[0], start[1], start[2]

    def _target(self, index: int) -> _Targets:
        if index not in self._targets:
            self._targets[index] = _Targets.of(self.examples[index])
        return self._targets[index]


@dataclass(frozen=True)
class _Targets:
    """Where crops of one labeled case may be centred (positions are x y z)."""

    classes: tuple[np.ndarray, ...]
    annotated: np.ndarray | None  # None: the whole volume is annotated

    @classmethod
    def of(cls, example: Example) -> _Targets:
        mask = np.asarray(example.mask)
        values = [int(v) for v in np.unique(mask)]
        if values == [IGNORE]:
            raise TrainingError(
                f"case {example.case_id}: its mask has no annotated voxel; annotate at least one "
                "slice of it or leave it out"
            )
        found = tuple(_positions(mask == v) for v in values if v not in (0, IGNORE))
        return cls(found, _positions(mask != IGNORE) if IGNORE in values else None)

    def draw(self, foreground_share: float, generator: Generator) -> list[int] | None:
        """A centre, or None for a crop anywhere. Always three draws: see `CropSampler`."""
        coin, kind, place = torch.rand(3, generator=generator, dtype=torch.float64).tolist()
        rows = self.annotated
        if self.classes and coin < foreground_share:
            rows = self.classes[int(kind * len(self.classes))]
        if rows is None:
            return None
        position: list[int] = rows[int(place * len(rows))].tolist()
        return position


def _positions(where: np.ndarray) -> np.ndarray:
    flat = np.flatnonzero(where)
    step = -(-len(flat) // KEPT_VOXELS)
    return np.stack(np.unravel_index(flat[:: max(step, 1)], where.shape), axis=1).astype(np.int32)


def gather(
    examples: Sequence[Example], starts: Sequence[Size], size: Size, num_classes: int = 0
) -> Crops:
    """Cut one crop of `size` out of each example at its start (which may lie outside).

    Args:
        num_classes: classes of the pseudo-labels; 0 = there are none.
    """
    batch = len(examples)
    image = np.empty((batch, examples[0].image.shape[0], *size), np.float32)
    mask = np.empty((batch, *size), np.int64)
    has_pseudo = num_classes > 0 and any(e.pseudo is not None for e in examples)
    pseudo = np.zeros((batch, num_classes, *size), np.float32) if has_pseudo else None
    for row, (example, start) in enumerate(zip(examples, starts, strict=True)):
        inside, outside = _overlap(example.image.shape[1:], start, size)
        _copy_with_border(example.image, image[row], inside, outside)
        if mask[row][outside].shape != tuple(size):  # 8 bytes a voxel: filled only where needed
            mask[row] = IGNORE
        mask[row][outside] = 0 if example.mask is None else example.mask[inside]
        if pseudo is not None and example.pseudo is not None:
            pseudo[row][(slice(None), *outside)] = example.pseudo[(slice(None), *inside)]
    return Crops(
        cases=tuple(e.case_id for e in examples),
        image=torch.from_numpy(image),
        mask=torch.from_numpy(mask),
        pseudo=None if pseudo is None else torch.from_numpy(pseudo),
        confidence=torch.tensor([0.0 if e.pseudo is None else e.confidence for e in examples]),
    )


def check_examples(examples: Sequence[Example], num_classes: int, channels: int) -> None:
    """Refuse arrays that do not fit the task, before any time is spent.

    Raises:
        DataError: wrong number of channels or classes, a class value out of range, or shapes of
            image, mask and pseudo-label that differ; the message names the case.
    """
    for e in examples:
        if e.image.shape[0] != channels:
            raise DataError(f"case {e.case_id}: {e.image.shape[0]} channels, others {channels}")
        for name, array in (("mask", e.mask), ("pseudo-label", e.pseudo)):
            if array is not None and array.shape[-3:] != e.image.shape[1:]:
                raise DataError(
                    f"case {e.case_id}: {name} has shape {array.shape[-3:]}, the image "
                    f"{e.image.shape[1:]}; write it on the grid of the image"
                )
        if e.pseudo is not None and len(e.pseudo) != num_classes:
            raise DataError(
                f"case {e.case_id}: the pseudo-label has {len(e.pseudo)} classes, not {num_classes}"
            )
        if e.mask is not None:
            _check_values(e, num_classes)


def _check_values(example: Example, num_classes: int) -> None:
    values = np.unique(np.asarray(example.mask))
    strange = [int(v) for v in values if v >= num_classes and v != IGNORE]
    if strange:
        raise DataError(
            f"case {example.case_id}: mask values {strange} are neither 0..{num_classes - 1} nor "
            f"{IGNORE} (not annotated)"
        )


Slices = tuple[slice, slice, slice]


def _overlap(room: Sequence[int], start: Size, size: Size) -> tuple[Slices, Slices]:
    """The part of the volume that the crop covers, and where it lies in the crop."""
    inside, outside = [], []
    for sides, first, side in zip(room, start, size, strict=True):
        low, high = max(first, 0), min(first + side, sides)
        inside.append(slice(low, high))
        outside.append(slice(low - first, high - first))
    return (inside[0], inside[1], inside[2]), (outside[0], outside[1], outside[2])


def _copy_with_border(
    source: np.ndarray, crop: np.ndarray, inside: Slices, outside: Slices
) -> None:
    """Copy what is inside; then repeat its border outwards, axis by axis."""
    crop[(slice(None), *outside)] = source[(slice(None), *inside)]
    for axis, part in enumerate(outside):
        lines = np.moveaxis(crop, axis + 1, 0)  # a view: writing to it fills the crop
        lines[: part.start] = lines[part.start]
        lines[part.stop :] = lines[part.stop - 1]
