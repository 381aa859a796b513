"""SAM3 as a segmenter of volumes: stitch, predict mosaics, take the slices back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from salearn.models.adapted import load_adapted, save_adapted
from salearn.models.pixels import Window, three_channels
from salearn.models.sam3 import Sam, class_probabilities
from salearn.mosaic import MosaicStitcher
from salearn.settings import dump
from salearn.store import write_json


class SamSegmenter:
    """Class probabilities of whole volumes from mosaics of their slices.

    Args:
        sam: the base, or with an adapter.
        batch: mosaics predicted at once.
        window: of all volumes (CT); None = from each volume's own intensities.
    """

    def __init__(
        self, sam: Sam, stitcher: MosaicStitcher, batch: int = 4, window: Window | None = None
    ) -> None:
        self.sam = sam
        self.window = window
        self.stitcher = stitcher
        self.batch = batch

    @classmethod
    def load(cls, sam: Sam, adapter: Path | None, stitcher: MosaicStitcher) -> SamSegmenter:
        """The base with a saved adapter (None = zero-shot). The base itself is left as it is.

        Raises:
            WeightsError: the adapter is missing, damaged or of another base.
        """
        return cls(sam if adapter is None else load_adapted(sam, adapter), stitcher)

    def predict(
        self, volumes: Sequence[Float[np.ndarray, "channel _x _y _z"]]
    ) -> Iterator[Float[np.ndarray, "class _x _y _z"]]:
        """Probabilities (class 0 = background, sum 1) in the order and on the grid of the input."""
        for volume in volumes:
            yield self._predict_one(volume)

    def save(self, path: Path) -> None:
        """Write the adapter and every setting into a folder."""
        if self.sam.adapter is not None or self.sam.arm is not None:
            save_adapted(self.sam, path)
        record = {
            "sam": dump(self.sam.settings),
            "prompts": list(self.sam.prompts),
            "stitch": dump(self.stitcher.settings),
            "axis": self.stitcher.axis,
        }
        write_json(path / "segmenter.json", record)

    def _predict_one(
        self, volume: Float[np.ndarray, "channel x y z"]
    ) -> Float[np.ndarray, "class x y z"]:
        x, y, z = volume.shape[1:]
        layout = self.stitcher.layout((x, y, z), self.sam.resolution, self.sam.patch)
        mosaics = layout.stitch((self.window or Window.of(volume)).scaled(volume))
        parts = [
            self._predict_mosaics(mosaics[first : first + self.batch])
            for first in range(0, len(mosaics), self.batch)
        ]
        return layout.unstitch(np.concatenate(parts))

    def _predict_mosaics(
        self, mosaics: Float[np.ndarray, "mosaic channel side side"]
    ) -> Float[np.ndarray, "mosaic class side side"]:
        with torch.inference_mode():
            images = three_channels(torch.from_numpy(mosaics).to(self.sam.device))
            probabilities: np.ndarray = class_probabilities(self.sam(images)).cpu().numpy()
        return probabilities
