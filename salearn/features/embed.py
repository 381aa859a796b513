"""Slice and volume vectors from SAM3's encoder, computed once and kept in the store."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from salearn.errors import ConfigError, DataError
from salearn.settings import Field, dump, settings
from salearn.store import Store, atomic, content_key

if TYPE_CHECKING:
    from salearn.models.sam3 import Sam

KIND = "embeddings"
VECTORS = "vectors.npy"
CODE_VERSION = 1  # raise when the same settings give other vectors


@settings
class EmbedSettings:
    """What a slice vector is made of.

    Attributes:
        resolution: side that a slice is brought to, pixels; a multiple of the patch. None = one
            attention window of the model (336 for SAM3, 32 for tiny).
        block: the ViT block whose tokens are pooled, from 0; None = the last.
        grid: a slice is pooled in grid x grid cells, whose vectors are joined. 1 = the plain mean,
            which forgets where things are; a random encoder (tiny) needs more.
        body: tokens of lower mean intensity (-1..1) are left out of the mean; None = none are.
        batch: slices embedded at once.
        views: number of label-preserving views.
        view_gain, view_offset, view_gamma: greatest change of intensity in a view.
        view_flips: views may be mirrored in the slice plane.
        view_seed: of the views; all volumes see the same changes.
    """

    resolution: int | None = Field(default=None, ge=1)
    block: int | None = Field(default=None, ge=0)
    grid: int = Field(default=1, ge=1)
    body: float | None = Field(default=None, ge=-1, le=1)
    batch: int = Field(default=64, ge=1)
    views: int = Field(default=4, ge=1)
    view_gain: float = Field(default=0.2, ge=0, lt=1)
    view_offset: float = Field(default=0.1, ge=0)
    view_gamma: float = Field(default=0.3, ge=0)
    view_flips: bool = True
    view_seed: int = 0


Box = tuple[slice, slice, slice]  # the part of a volume that is a patch
VIEW_FIELDS = ("views", "view_gain", "view_offset", "view_gamma", "view_flips", "view_seed")


class Embedder:
    """Unit-length vectors of slices and volumes, kept in the store as float16.

    Args:
        sam: gives the encoder; called once, and only if something is not in the store.
        axis: the slice axis: 0, 1, 2 = x, y, z.
        sam_key, adapter_key: content keys of the base and of the adapter ("" = frozen base).

    Source: reference notes on SAM3, section 6 (tokens, LayerNorm without parameters, mean, L2).
    """

    def __init__(
        self,
        sam: Callable[[], Sam],
        store: Store,
        given: EmbedSettings,
        axis: int,
        sam_key: str,
        adapter_key: str = "",
    ) -> None:
        self._make_sam = sam
        self._store = store
        self._settings = given
        self._axis = axis
        self._keys = (sam_key, adapter_key)
        self._last = ("", np.empty(0, dtype=np.float32))

    def slices(
        self, case_key: str, image: Float[np.ndarray, "channel x y z"], box: Box | None = None
    ) -> Float[np.ndarray, "slice dim"]:
        """One vector for each slice along the axis.

        Args:
            case_key: content key of the image.
            box: embed this part only, with the intensities that it has in the whole image.
        """
        return self._kept(self._key(case_key, "slices", box), partial(self._embed, image, box))

    def key(self, case_key: str, box: Box | None = None) -> str:
        """Content key of what `slices` gives: its entry in the store, made or not."""
        return self._key(case_key, "slices", box)

    def volume(
        self,
        case_key: str,
        image: Float[np.ndarray, "channel x y z"],
        weights: Float[np.ndarray, " slice"] | None = None,
        box: Box | None = None,
    ) -> Float[np.ndarray, " dim"]:
        """The weighted mean of the slice vectors, brought to unit length.

        Args:
            weights: of the slices, e.g. predicted foreground areas; None = all equal.
            box: see `slices`.
        """
        return pooled(self.slices(case_key, image, box), weights)

    def views(
        self, case_key: str, image: Float[np.ndarray, "channel x y z"], box: Box | None = None
    ) -> Float[np.ndarray, "slice view dim"]:
        """Vectors of each slice under label-preserving changes of intensity and mirroring."""
        return self._kept(self._key(case_key, "views", box), partial(self._embed_views, image, box))

    def volume_views(
        self, case_key: str, image: Float[np.ndarray, "channel x y z"], box: Box | None = None
    ) -> Float[np.ndarray, "view dim"]:
        """Volume vectors (of a patch: its vectors) under the same views."""
        views = self.views(case_key, image, box)
        return np.stack([pooled(views[:, i]) for i in range(views.shape[1])])

    @cached_property
    def _sam(self) -> Sam:
        return self._make_sam()

    def _key(self, case_key: str, what: str, box: Box | None) -> str:
        values = {name: value for name, value in dump(self._settings).items() if name != "batch"}
        if what == "slices":
            values = {name: value for name, value in values.items() if name not in VIEW_FIELDS}
        place = [] if box is None else [[part.start, part.stop] for part in box]
        parts = (KIND, CODE_VERSION, what, case_key, *self._keys, values, self._axis, *place)
        return content_key(*parts)

    def _kept(self, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        # Slices of one volume are asked for one after the other: the last array is remembered.
        if self._last[0] != key:
            folder = self._store.get(KIND, key, lambda work: _write(work, make()))
            self._last = (key, unit(np.load(folder / VECTORS).astype(np.float32)))
        return self._last[1]

    def _embed(self, image: np.ndarray, box: Box | None) -> np.ndarray:
        return self._vectors(self._slices(image, box))

    def _embed_views(self, image: np.ndarray, box: Box | None) -> np.ndarray:
        slices, given = self._slices(image, box), self._settings
        rngs = [np.random.default_rng([given.view_seed, i]) for i in range(given.views)]
        return np.stack([self._vectors(view(slices, given, rng)) for rng in rngs], axis=1)

    def _slices(self, image: np.ndarray, box: Box | None) -> Float[np.ndarray, "slice channel h w"]:
        from salearn.models.pixels import Window

        part = image if box is None else image[(slice(None), *box)]
        return np.moveaxis(Window.of(image).scaled(part), self._axis + 1, 0)

    def _vectors(
        self, slices: Float[np.ndarray, "slice channel h w"]
    ) -> Float[np.ndarray, "slice dim"]:
        import torch

        sam, size = self._sam, self._settings.batch
        backbone = sam.backbone.config
        side = self._settings.resolution or backbone.patch_size * backbone.window_size
        parts = []
        with torch.inference_mode(), sam.at_resolution(side):
            for first in range(0, len(slices), size):
                part = torch.from_numpy(np.ascontiguousarray(slices[first : first + size]))
                parts.append(self._pool(_squared(part, side).to(sam.device)).cpu().numpy())
        vectors = np.concatenate(parts)
        if not np.isfinite(vectors).all():
            raise DataError("embeddings are not finite: an image holds NaN or Inf (data check)")
        return unit(vectors)

    def _pool(self, images: Any) -> Any:
        """Mean over the tokens of each cell, or over those of the body where there are any."""
        from torch.nn import functional

        tokens = self._sam.tokens(images, self._settings.block)
        weights = tokens.new_ones(tokens.shape[:2]).unsqueeze(2)
        if self._settings.body is not None:
            bright = functional.avg_pool2d(images.mean(1, keepdim=True), self._sam.patch)
            weights = (bright.flatten(1).unsqueeze(2) > self._settings.body).to(tokens.dtype)
        body, all_tokens = self._cells(weights), self._cells(tokens)
        mean = self._cells(tokens * weights) / body.clamp_min(1e-6)
        return (mean.where(body > 0, all_tokens)).flatten(1)

    def _cells(self, tokens: Any) -> Any:
        """Means over the cells of the grid: image, cell, dim."""
        side, grid = round(tokens.shape[1] ** 0.5), self._settings.grid
        if side % grid:
            raise ConfigError(
                f"embed.grid: {side} x {side} tokens cannot be divided into {grid} x {grid} cells; "
                "change embed.grid or embed.resolution"
            )
        cells = tokens.unflatten(1, (grid, side // grid, grid, side // grid))
        return cells.mean((2, 4)).flatten(1, 2)


def pooled(
    vectors: Float[np.ndarray, "slice dim"], weights: Float[np.ndarray, " slice"] | None = None
) -> Float[np.ndarray, " dim"]:
    """Weighted mean, brought to unit length; weights that are all 0 count as equal."""
    if weights is None or not weights.any():
        return unit(vectors.mean(axis=0))
    mean: np.ndarray = (vectors * weights[:, None]).sum(axis=0) / weights.sum()
    return unit(mean.astype(vectors.dtype))


def unit(vectors: Float[np.ndarray, "*lead dim"]) -> Float[np.ndarray, "*lead dim"]:
    """Rows of length 1."""
    lengths: np.ndarray = np.linalg.norm(vectors, axis=-1, keepdims=True)
    rows: np.ndarray = vectors / np.maximum(lengths, 1e-12)
    return rows


def view(
    slices: Float[np.ndarray, "slice channel h w"], given: EmbedSettings, rng: np.random.Generator
) -> Float[np.ndarray, "slice channel h w"]:
    """One label-preserving view: gamma, gain and offset of intensities -1..1, mirroring."""
    gamma = np.exp(given.view_gamma * rng.uniform(-1, 1))
    gain = 1 + given.view_gain * rng.uniform(-1, 1)
    offset = given.view_offset * rng.uniform(-1, 1)
    changed = ((slices + 1) / 2) ** gamma * 2 - 1
    changed = np.clip(changed * gain + offset, -1, 1).astype(np.float32)
    for axis in (2, 3):
        if rng.random() < 0.5 and given.view_flips:
            changed = np.flip(changed, axis)
    flipped: np.ndarray = np.ascontiguousarray(changed)
    return flipped


def _squared(slices: Any, side: int) -> Any:
    """Slices padded to squares (shape is kept), then resized; three channels."""
    from torch.nn import functional

    from salearn.models.pixels import three_channels

    height, width = slices.shape[2:]
    longest = max(height, width)
    y, x = longest - height, longest - width
    padded = functional.pad(slices, [x // 2, x - x // 2, y // 2, y - y // 2], value=-1.0)
    if longest != side:
        padded = functional.interpolate(
            padded, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
    return three_channels(padded)


def _write(folder: Path, vectors: np.ndarray) -> None:
    with atomic(folder / VECTORS) as path, path.open("wb") as handle:
        np.save(handle, vectors.astype(np.float16))
