"""Hard negatives inside a fine-tuning: measure them with the model, draw them, weigh them."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from salearn.cases import IGNORE
from salearn.hard_negatives import NegativeSettings, hardness, pick_slices
from salearn.models.pixels import three_channels
from salearn.models.sam3 import Sam

BATCH = 8
STREAM = 11


@runtime_checkable
class PlainMosaics(Protocol):
    """Labeled volumes that can be shown without augmentation."""

    def __len__(self) -> int:
        """How many volumes."""
        ...

    def plain(
        self, index: int
    ) -> tuple[Float[np.ndarray, "mosaic channel h w"], UInt8[np.ndarray, "mosaic h w"]]:
        """The mosaics of a volume as they are, and their masks."""
        ...


class Mining:
    """Tiers 1 and 2 of hard negative mining; where a mosaic is a slice ("single") both apply.

    Args:
        seed: of the choice of volumes that are measured.
    """

    def __init__(self, given: NegativeSettings, seed: int) -> None:
        self.given = given
        self._seed = seed
        self._hard: dict[int, np.ndarray] = {}  # volume -> hardness "class slice"

    def refresh(self, iteration: int, iterations: int, sam: Sam, mosaics: PlainMosaics) -> None:
        """Measure hardness with the model of the moment, if it is time."""
        if not self.given.due(iteration, iterations):
            return
        rng = np.random.default_rng([self._seed, iteration, STREAM])
        sam.eval()
        for index in rng.permutation(len(mosaics))[: self.given.volumes].tolist():
            self._hard[index] = self._measured(sam, mosaics.plain(index)[0])
        sam.train()

    def pick(
        self,
        volume: int,
        mask: UInt8[np.ndarray, "mosaic h w"],
        used: Int[np.ndarray, " used"],
        count: int,
        rng: np.random.Generator,
    ) -> Int[np.ndarray, " chosen"]:
        """Slices of a volume: three with one of its structures to one without, by hardness."""
        classes = np.unique(mask[used])
        classes = classes[(classes > 0) & (classes != IGNORE)]
        if not len(classes):
            return rng.permutation(used)[:count]
        label = int(rng.choice(classes))
        present = (mask[used] == label).any(axis=(1, 2))
        known = self._hard.get(volume)
        hard = None if known is None else known[label - 1][used]
        chosen: np.ndarray = used[pick_slices(present, hard, count, self.given, rng)]
        return chosen

    def loss(
        self, logits: Float[Tensor, "b class h w"], target: Int[Tensor, "b h w"]
    ) -> Float[Tensor, ""]:
        """Focal loss of the prompts that have nothing in their image, mean over known pixels."""
        classes = torch.arange(1, logits.shape[1] + 1, device=target.device).view(1, -1, 1, 1)
        absent = ~(target.unsqueeze(1) == classes).any(dim=(2, 3))
        known = (target != IGNORE).unsqueeze(1) & absent[:, :, None, None]
        wrong = torch.sigmoid(logits) ** self.given.gamma * functional.softplus(logits)
        return self.given.prompt_weight * (wrong * known).sum() / known.sum().clamp_min(1)

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {str(index): torch.from_numpy(hard) for index, hard in self._hard.items()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._hard = {int(index): hard.numpy() for index, hard in state.items()}

    def _measured(self, sam: Sam, mosaics: np.ndarray) -> np.ndarray:
        """Hardness "class slice" of all slices of a volume."""
        rows = []
        with torch.inference_mode():
            for first in range(0, len(mosaics), BATCH):
                images = torch.from_numpy(mosaics[first : first + BATCH]).to(sam.device)
                p = torch.sigmoid(sam(three_channels(images))).float().cpu().numpy()
                rows.append([hardness(p[:, k], self.given.top) for k in range(p.shape[1])])
        return np.concatenate([np.stack(row) for row in rows], axis=1)
