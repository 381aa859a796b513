"""The two models that are asked: SAM3's detector (text, boxes) and its tracker (boxes, clicks)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from loops.interactive.config import InteractiveConfig
from salearn.models.adapted import load_adapted
from salearn.models.interactive.boxes import BoxSam
from salearn.models.interactive.tracker import ClickSam, load_tracker
from salearn.models.interactive.tracker_weights import tracker_key
from salearn.models.sam3 import Sam, load_sam, sam_key
from salearn.prompts.geometry import PromptView

STATES = {
    "tiny": "random weights: the figures say nothing about SAM3",
    "mini": "salearn-mini: text learnt on generated scenes; its geometry encoder (boxes) is random",
}
TRACKER_STATES = {"tiny": STATES["tiny"], "mini": "clicks that ship with salearn-mini"}


@dataclass(frozen=True, eq=False)
class Pair:
    """Detector and tracker, loaded, and what they are."""

    config: InteractiveConfig
    texts: Mapping[str, tuple[str, ...]]
    boxes: BoxSam
    clicks: ClickSam

    @classmethod
    def load(cls, config: InteractiveConfig, texts: Mapping[str, tuple[str, ...]]) -> Pair:
        """Both models; the detector knows the chosen texts of each class.

        Raises:
            WeightsError: weights cannot be had.
        """
        flat = [text for options in texts.values() for text in options]
        asked = config.interactive
        side = asked.resolution or config.sam.resolution
        sam = cls.detector(replace(config, sam=replace(config.sam, resolution=side)), flat)
        sizes = [len(options) for options in texts.values()]
        ends = np.cumsum(sizes)
        rows = [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]
        return cls(config, texts, BoxSam(sam, rows=rows), ClickSam(load_tracker(asked.tracker)))

    @staticmethod
    def detector(config: InteractiveConfig, texts: Sequence[str]) -> Sam:
        """SAM3 with these texts, adapted if an adapter is named."""
        sam = load_sam(config.sam, texts)
        adapter = config.interactive.adapter
        return sam if adapter is None else load_adapted(sam, Path(adapter))

    def see(
        self, images: Sequence[Float[np.ndarray, "channel _h _w"]]
    ) -> list[tuple[PromptView, PromptView]]:
        """Both views of each slice, the detector's first."""
        return list(zip(self.boxes.see(images), self.clicks.see(images), strict=True))

    def describe(self) -> dict[str, Any]:
        """Which models, and whether their answers mean anything."""
        sam, asked = self.config.sam, self.config.interactive
        given = "weights as given"
        return {
            "detector": {
                "weights": sam.weights, "key": sam_key(sam), "adapter": asked.adapter,
                "resolution": self.boxes.sam.resolution, "states": STATES.get(sam.weights, given),
            },
            "tracker": {
                "weights": asked.tracker.weights, "key": tracker_key(asked.tracker),
                "resolution": self.clicks.tracker.side,
                "states": TRACKER_STATES.get(asked.tracker.weights, given),
            },
        }  # fmt: skip
