"""Normalised volumes, made once and shared by every process as memory maps."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32

from salearn.cases import Case
from salearn.data.nifti import Geometry
from salearn.data.source import defect_error
from salearn.data.volumes import Volume, read_volume
from salearn.errors import ConfigError
from salearn.settings import dump, settings
from salearn.store import Store, content_key, file_hash, write_json

KIND = "volumes"
CODE_VERSION = 1  # raise it when the arrays that come out change
IMAGE, META = "image.npy", "meta.json"
LUMA = np.array([0.299, 0.587, 0.114], np.float32)

_hashes: dict[tuple[str, int, int], str] = {}


@settings
class Recipe:
    """How a volume is normalised; statistics are of the case itself, each channel on its own.

    Attributes:
        kind: "zscore" scales; "percentile" clips to `percentiles`, then scales; "window" clips to
            `window` (CT, in HU), then scales; "none" leaves the intensities.
        scale: "zscore" = zero mean and unit variance; "unit" = 0..1 over the clipped range
            (for kind "zscore": over the whole range).
        percentiles: lower and upper, 0..100.
        window: lower and upper intensity.
        foreground: statistics over non-zero voxels only; zero voxels (cut-away background) stay 0.
        color: of images with three channels: "stored" keeps them, "gray" makes one (0.299 R +
            0.587 G + 0.114 B, ITU-R BT.601). A gray picture in a colour file has one anyway.
    """

    kind: Literal["zscore", "percentile", "window", "none"] = "zscore"
    scale: Literal["zscore", "unit"] = "zscore"
    percentiles: tuple[float, float] = (0.5, 99.5)
    window: tuple[float, float] | None = None
    foreground: bool = False
    color: Literal["stored", "gray"] = "stored"

    def __post_init__(self) -> None:
        low, high = self.percentiles
        if not 0 <= low < high <= 100:
            raise ConfigError(f"percentiles {self.percentiles}: need 0 <= lower < upper <= 100")
        if (self.kind == "window") != (self.window is not None):
            raise ConfigError("kind 'window' needs window: [lower, upper], and no other kind does")
        if self.window is not None and self.window[0] >= self.window[1]:
            raise ConfigError(f"window {self.window}: the lower end must be below the upper")


def normalise(
    image: Float32[np.ndarray, "channel x y z"], recipe: Recipe
) -> Float32[np.ndarray, "_channel x y z"]:
    """The image under a recipe; a channel without contrast becomes 0."""
    if recipe.color == "gray" and len(image) == 3:
        image = np.tensordot(LUMA, image, axes=1)[None]
    if recipe.kind == "none":
        return image.astype(np.float32)
    return np.stack([_normalise_channel(channel, recipe) for channel in image])


def _normalise_channel(
    channel: Float32[np.ndarray, "x y z"], recipe: Recipe
) -> Float32[np.ndarray, "x y z"]:
    """Statistics in float64, voxels in float32: Python floats, because a NumPy 2 scalar from
    np.percentile would promote the whole array to float64.
    """
    inside = channel != 0
    counted = channel[inside] if recipe.foreground and inside.any() else channel
    low, high = _range(counted, recipe)
    counted = np.clip(counted, low, high)
    if recipe.scale == "unit":
        shift, width = low, high - low
    else:
        shift = float(counted.mean(dtype=np.float64))
        width = float(counted.std(dtype=np.float64))
    scaled = (np.clip(channel, low, high) - shift) / (width if width > 0 else 1.0)
    if recipe.foreground:
        scaled[~inside] = 0.0
    made: np.ndarray = scaled.astype(np.float32, copy=False)
    return made


def _range(counted: Float32[np.ndarray, "*voxels"], recipe: Recipe) -> tuple[float, float]:
    if recipe.kind == "percentile":
        low, high = np.percentile(counted, recipe.percentiles)
        return float(low), float(high)
    if recipe.window is not None:
        return recipe.window
    return float(counted.min()), float(counted.max())


def hash_file(path: Path) -> str:
    """SHA-256 of a file, computed once a process as long as size and time stay the same.

    Raises:
        DataError: the file is missing.
    """
    try:
        state = path.stat()
    except OSError as error:
        reason = error.strerror or "unreadable"
        raise defect_error("", path, reason, "add the file or take the case away") from None
    known = (str(path.resolve()), state.st_size, state.st_mtime_ns)
    if known not in _hashes:
        _hashes[known] = file_hash(path)
    return _hashes[known]


def image_hash(case: Case) -> str:
    """One hash over the bytes of all image files of a case."""
    return content_key([hash_file(path) for path in case.images])


@dataclass(frozen=True)
class VolumeCache:
    """Volumes under one recipe, decoded and normalised once for all processes of a store."""

    store: Store
    recipe: Recipe

    def key(self, case: Case) -> str:
        """Content key: bytes of the image files, recipe, code version.

        Raises:
            DataError: an image file is missing.
        """
        files = [hash_file(path) for path in case.images]
        return content_key(files, dump(self.recipe), CODE_VERSION)

    def open(self, case: Case) -> Volume:
        """The normalised volume; its image is a read-only memory map.

        Raises:
            DataError: the image cannot be read (see read_volume).
        """
        folder = self.store.get(KIND, self.key(case), lambda work: self._make(case, work))
        meta = json.loads((folder / META).read_text())
        return Volume(
            image=np.load(folder / IMAGE, mmap_mode="r"),
            spacing=tuple(meta["spacing"]),
            affine=np.array(meta["affine"], dtype=np.float64),
            source=_geometry(meta["source"]),
        )

    def _make(self, case: Case, work: Path) -> None:
        volume = read_volume(case)
        np.save(work / IMAGE, normalise(volume.image, self.recipe))
        source = volume.source
        meta = {
            "case": case.id,
            "images": [str(path) for path in case.images],
            "recipe": dump(self.recipe),
            "code_version": CODE_VERSION,
            "spacing": volume.spacing,
            "affine": volume.affine.tolist(),
            "source": {
                "shape": source.shape,
                "affine": source.affine.tolist(),
                "orientation": source.orientation,
                "header": source.header.hex(),
            },
        }
        write_json(work / META, meta)


def _geometry(meta: dict[str, Any]) -> Geometry:
    x, y, z = meta["shape"]
    affine = np.array(meta["affine"], dtype=np.float64)
    return Geometry(shape=(x, y, z), affine=affine, header=bytes.fromhex(meta["header"]))
