"""From the intensities of a volume to what SAM3 takes: -1..1, three channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from salearn.errors import ConfigError

PERCENTILES = (0.5, 99.5)


@dataclass(frozen=True, eq=False)
class Window:
    """An intensity window per channel; it is mapped to -1..1, what lies outside is clipped.

    Taken from a volume once, so that changes of intensity made afterwards (augmentation) stay.
    """

    low: Float[np.ndarray, " channel"]
    high: Float[np.ndarray, " channel"]

    @classmethod
    def of(cls, image: Float[np.ndarray, "channel _x _y _z"]) -> Window:
        """From the 0.5th to the 99.5th percentile of each channel; a flat channel becomes -1."""
        low, high = np.percentile(image.reshape(len(image), -1), PERCENTILES, axis=1)
        return cls(low.astype(np.float32), np.maximum(high, low + 1e-6).astype(np.float32))

    @classmethod
    def identity(cls, channels: int) -> Window:
        """For images that are brought to -1..1 already."""
        return cls(np.full(channels, -1, np.float32), np.ones(channels, np.float32))

    def scaled(
        self, image: Float[np.ndarray, "channel _x _y _z"]
    ) -> Float[np.ndarray, "channel _x _y _z"]:
        """Intensities -1..1."""
        low, span = self.low[:, None, None, None], (self.high - self.low)[:, None, None, None]
        scaled: np.ndarray = np.clip((image - low) * (2 / span) - 1, -1, 1).astype(np.float32)
        return scaled


def three_channels(images: Float[Tensor, "b channel *size"]) -> Float[Tensor, "b 3 *size"]:
    """One channel is shown three times, the second of two twice.

    Raises:
        ConfigError: more than three channels.
    """
    channels = images.shape[1]
    if channels > 3:
        raise ConfigError(
            f"the images have {channels} channels, SAM3 takes up to 3: leave some files of each "
            "case out of the data set"
        )
    return images[:, [min(i, channels - 1) for i in range(3)]]
