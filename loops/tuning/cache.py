"""Features behind the frozen prefix of SAM3, computed once per mosaic and kept in the work folder.

Where an arm leaves the first blocks of the vision trunk frozen, they answer the same to the same
pixels in every step. For the same pixels to come again, each volume has a fixed number of
augmented copies; without augmentation one.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from loops.tuning.data import Answer, LabeledMosaics, Maps
from salearn.data.patches import Example
from salearn.errors import ConfigError, TrainingError
from salearn.models.cost import GIB
from salearn.models.pixels import Window, three_channels
from salearn.models.prefix import answer_behind, frozen_blocks, prefix
from salearn.models.sam3 import Sam
from salearn.mosaic import MosaicStitcher
from salearn.settings import Field, settings
from salearn.store import atomic

if TYPE_CHECKING:
    from loops.finetune import FinetuneSettings

FOLDER, FEATURES = "_cache", "features.bin"
STREAM = 31  # the copies of a volume have draws of their own


@settings
class CacheSettings:
    """The cache of features behind the frozen blocks.

    Attributes:
        copies: augmented views of each volume, drawn once; steps choose among them. Without
            augmentation one is enough, and one is made.
        dtype: of the features on disk; the training computes in its own.
        max_gib: of disk; mosaics that find no room are computed anew at each draw.
    """

    NEWER: ClassVar[tuple[str, ...]] = ("max_gib",)
    copies: int = Field(default=4, ge=1)
    dtype: Literal["float32", "float16", "bfloat16"] = "float16"
    max_gib: float = Field(default=20.0, gt=0)


class CachedMosaics(LabeledMosaics):
    """Labeled mosaics whose `sample` gives features behind the frozen blocks in place of pixels.

    Features lie in one memory-mapped file, in the order in which they were first wanted; which
    mosaic lies where is part of the training's checkpoint, so that a torn file cannot mislead.

    Attributes:
        blocks: how many are frozen; `salearn.models.prefix.answer_behind` goes on from there.
    """

    def __init__(
        self, *args: Any, sam: Sam, given: CacheSettings, seed: int, amp: bool = False
    ) -> None:
        super().__init__(*args)
        self.blocks = refuse_trained_prefix(sam)
        self.copies = given.copies if self.random else 1
        self._sam, self._given, self._seed, self._amp = sam, given, seed, amp
        self._slots: dict[tuple[int, int, int], int] = {}  # volume, copy, mosaic -> place
        self._folder: Path | None = None
        self._file = torch.zeros(0)
        self._seen: tuple[tuple[int, int], np.ndarray] | None = None  # images of one view

    # --- the file -------------------------------------------------------------------------

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and width of the features of a mosaic."""
        side = self._sam.resolution // self._sam.patch
        return side, side, int(self._sam.backbone.config.hidden_size)

    @property
    def entries(self) -> int:
        """Mosaics that may be wanted, of all copies."""
        return self.copies * sum(self.layout(index).mosaics for index in range(len(self)))

    @property
    def entry_bytes(self) -> int:
        """Of the features of a mosaic."""
        return int(np.prod(self.shape)) * self._dtype.itemsize

    @property
    def _dtype(self) -> torch.dtype:
        return getattr(torch, self._given.dtype)  # type: ignore[no-any-return]

    def open(self, work: Path, state: Mapping[str, Any] | None) -> None:
        """Keep features below this folder; go on with what is there where it is complete.

        Raises:
            ConfigError: `max_gib` has no room for one mosaic, or the disk none for `max_gib`.
        """
        folder = work / FOLDER
        path, room = folder / FEATURES, self._room(folder)
        whole = path.exists() and path.stat().st_size == room * self.entry_bytes
        if not (state and whole):
            shutil.rmtree(folder, ignore_errors=True)
        else:
            found = [(int(v), int(c), int(m)) for v, c, m in state["slots"].tolist()]
            self._slots = {entry: place for place, entry in enumerate(found)}
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        count = room * int(np.prod(self.shape))
        self._file = torch.from_file(str(path), shared=True, size=count, dtype=self._dtype)
        self._file = self._file.view(room, *self.shape)

    def _room(self, folder: Path) -> int:
        room = min(self.entries, int(self._given.max_gib * GIB) // self.entry_bytes)
        if not room:
            raise ConfigError(
                f"finetune.cache.max_gib: {self._given.max_gib} holds not one mosaic of "
                f"{self.entry_bytes / GIB:.3g} GiB; allow more, or lower sam.resolution"
            )
        path, wanted = folder / FEATURES, room * self.entry_bytes
        free = shutil.disk_usage(folder.parent).free
        free += path.stat().st_blocks * 512 if path.exists() else 0
        if wanted > free:
            raise ConfigError(
                f"finetune.cache: {wanted / GIB:.3g} GiB of features for {room} mosaics, but the "
                f"disk of {folder.parent} has {free / GIB:.3g} GiB left; lower "
                "finetune.cache.copies, .max_gib or sam.resolution, or put `store` on another disk"
            )
        return room

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold; the features themselves are brought to disk first."""
        if self._folder is not None:
            with (self._folder / FEATURES).open("rb") as handle:
                os.fsync(handle.fileno())
        return {"slots": torch.tensor(list(self._slots), dtype=torch.int64).view(-1, 3)}

    def told(self) -> dict[str, Any]:
        """For the record."""
        stored = len(self._slots)
        return {
            "frozen_blocks": self.blocks,
            "copies": self.copies,
            "dtype": self._given.dtype,
            "mosaics": stored,
            "gib": round(stored * self.entry_bytes / GIB, 6),
        }

    def close(self) -> None:
        """Drop the file: the training is over."""
        self._file, self._slots = torch.zeros(0), {}
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    def answer(self, sam: Sam) -> Answer:
        """The part of the model behind its frozen blocks."""
        return lambda shown, presence, further=None: answer_behind(
            sam, shown, self.blocks, presence, further
        )

    # --- views ----------------------------------------------------------------------------

    def _view(
        self, index: int, generator: torch.Generator, rng: np.random.Generator, maps: Maps | None
    ) -> list[Any]:
        copy = int(rng.integers(self.copies)) if self.copies > 1 else 0
        view: list[Any] = [_Wanted(self, index, copy), self._mask_of(index, copy)]
        if maps is not None:
            state = self._draws(index, copy)[0].get_state()
            view.append(self.layout(index).stitch(self._moved(maps(index), state)))
        return view

    def _joined(self, parts: Sequence[Any]) -> Float[Tensor, "b row column dim"]:
        return torch.stack([part.to(self._sam.device) for part in parts])

    def _draws(self, index: int, copy: int) -> tuple[torch.Generator, np.random.Generator]:
        """What a copy is drawn from: the same whenever it is made."""
        rng = np.random.default_rng([self._seed, STREAM, index, copy])
        return torch.Generator().manual_seed(int(rng.integers(2**63))), rng

    def _pixels(self, index: int, copy: int) -> list[np.ndarray]:
        return super()._view(index, *self._draws(index, copy), None)

    def _mask_of(self, index: int, copy: int) -> np.ndarray:
        """Masks of a view, made once; its images are kept until the next view is made."""
        if self._folder is None:
            raise TrainingError("fine-tuning: the cache is not open")
        path = self._folder / f"mask_{index}_{copy}.npy"
        if not path.exists():
            images, mask = self._pixels(index, copy)
            self._seen = (index, copy), images
            with atomic(path) as temporary, temporary.open("wb") as handle:
                np.save(handle, mask)
        stored: np.ndarray = np.load(path, mmap_mode="r")
        return stored

    def features(self, index: int, copy: int, mosaic: int) -> Float[Tensor, "row column dim"]:
        """Of a mosaic, as stored: computed now if they are not there yet.

        One mosaic at a time, so that they do not depend on what else a step draws.
        """
        entry = index, copy, mosaic
        if entry in self._slots:
            return self._file[self._slots[entry]]
        if self._seen is None or self._seen[0] != (index, copy):
            self._seen = (index, copy), self._pixels(index, copy)[0]
        images = torch.from_numpy(self._seen[1][mosaic : mosaic + 1]).to(self._sam.device)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._amp):
            made = prefix(self._sam, three_channels(images), self.blocks)[0].to(self._dtype).cpu()
        if not torch.isfinite(made).all():
            raise TrainingError(
                f"fine-tuning: features of case {self.cases[index]} are not finite as "
                f"{self._given.dtype}: check its image, or set finetune.cache.dtype=bfloat16"
            )
        if len(self._slots) < len(self._file):
            self._slots[entry] = len(self._slots)
            self._file[self._slots[entry]] = made
        return made


class _Wanted:
    """The mosaics of a view, each of which is looked up or computed when it is asked for."""

    def __init__(self, mosaics: CachedMosaics, index: int, copy: int) -> None:
        self._mosaics, self._view = mosaics, (index, copy)

    def __getitem__(self, chosen: Int[np.ndarray, " chosen"]) -> list[Tensor]:
        return [self._mosaics.features(*self._view, int(mosaic)) for mosaic in chosen]


def mosaics_for(
    labeled: Sequence[Example],
    stitcher: MosaicStitcher,
    given: FinetuneSettings,
    sam: Sam,
    seed: int,
    window: Window | None,
) -> LabeledMosaics:
    """What a fine-tuning draws from: with a cache where its settings ask for one.

    Args:
        sam: adapted; what it trains decides what stays the same.

    Raises:
        ConfigError: a cache is asked for, and nothing is frozen.
    """
    sides = sam.resolution, sam.patch
    shown = (labeled, stitcher, given.augment, *sides, given.bezier, window)
    if given.cache is None:
        return LabeledMosaics(*shown)
    return CachedMosaics(*shown, sam=sam, given=given.cache, seed=seed, amp=given.amp)


def refuse_trained_prefix(sam: Sam) -> int:
    """Frozen leading blocks of an adapted SAM3.

    Raises:
        ConfigError: there is none, so nothing could be kept.
    """
    blocks = frozen_blocks(sam)
    if not blocks:
        arm = "lora" if sam.arm is None else sam.arm["name"]
        raise ConfigError(
            f"finetune.cache: the arm ({arm}) trains the vision trunk from its first block on, so "
            "no features stay the same; set arm.last, or take an arm that leaves the trunk frozen "
            "(head, decoder, lora_decoder, adapter_decoder), or leave the cache out"
        )
    return blocks
