"""Hard negatives inside a fine-tuning: measure them with the model, draw them, weigh them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, UInt8
from torch import Tensor
from torch.nn import functional

from loops.tuning.data import LabeledMosaics, Maps, Pick
from loops.tuning.loss import known_truth
from loops.tuning.spread import SpreadPick
from salearn.cases import IGNORE
from salearn.errors import ConfigError
from salearn.hard_negatives import NegativeSettings, hardness, pick_slices
from salearn.hard_negatives_boundary import boundary_weights
from salearn.hard_negatives_guard import (
    RecallGuard,
    Review,
    false_positives,
    judge,
    recall_of,
)
from salearn.losses import mined_pixels
from salearn.models.pixels import three_channels
from salearn.models.sam3 import Sam
from salearn.models.sam3_generic import Further
from salearn.mosaic import unstitch_foreground

BATCH = 8
STREAM, ASKED = 11, 12


class Mining:
    """The tiers of hard negative mining that are switched on, in one fine-tuning.

    Where a mosaic is a slice ("single") the slice tier means what it says; on mosaics of many
    slices it chooses among mosaics.

    Args:
        seed: of the choice of volumes that are measured, and of generic prompts.
        groups: patient of each labeled volume, in order, where several are phases of one patient
            on one grid; None = each volume stands for itself.
    """

    def __init__(
        self, given: NegativeSettings, seed: int, groups: Sequence[str] | None = None
    ) -> None:
        self.given = given
        self.review = Review()
        self._seed = seed
        self._groups = groups
        self._hard: dict[int, np.ndarray] = {}  # volume -> hardness "class slice"
        self._weights: dict[int, np.ndarray] = {}  # volume -> boundary weights "class x y z"
        self._recall = RecallGuard(given.guard.recall_drop)
        self._volumes = 1

    # --- what is shown --------------------------------------------------------------------

    @property
    def now(self) -> NegativeSettings:
        """The settings with the ratios that the recall guard has left."""
        return self.given.eased(self._recall.factor)

    @property
    def picker(self) -> Pick | None:
        """What chooses the slices of one step, if anything does."""
        if not self.given.slice:
            return None
        return self.pick if self.given.per_volume == 1 else SpreadPick(self, self._volumes)

    def pick(
        self,
        volume: int,
        mask: UInt8[np.ndarray, "mosaic h w"],
        used: Int[np.ndarray, " used"],
        count: int,
        rng: np.random.Generator,
    ) -> Int[np.ndarray, " chosen"]:
        """Slices of a volume: three with one of its structures to one without, by hardness."""
        present, hard = self.looked(volume, mask, used, rng)
        if not present.any():
            return rng.permutation(used)[:count]
        chosen: np.ndarray = used[pick_slices(present, hard, count, self.now, rng)]
        return chosen

    def looked(
        self,
        volume: int,
        mask: UInt8[np.ndarray, "mosaic h w"],
        used: Int[np.ndarray, " used"],
        rng: np.random.Generator,
    ) -> tuple[Bool[np.ndarray, " used"], Float[np.ndarray, " used"] | None]:
        """Which slices show a structure, one of the volume's drawn evenly, and their hardness."""
        classes = np.unique(mask[used])
        classes = classes[(classes > 0) & (classes != IGNORE)]
        if not len(classes):
            return np.zeros(len(used), bool), None
        label = int(rng.choice(classes))
        known = self._hard.get(volume)
        hard = None if known is None else known[label - 1][used]
        return (mask[used] == label).any(axis=(1, 2)), hard

    def further(self, sam: Sam, iteration: int, images: int) -> Further | None:
        """Texts of the generic pool for the images of a step; None where it is off.

        Raises:
            ConfigError: the SAM3 was loaded without a pool.
        """
        if not self.given.generic.count:
            return None
        if sam.pool is None:
            raise ConfigError(
                "mining.generic: this SAM3 was loaded without a pool of texts; give load_sam the "
                "pool that salearn.generic_prompts.candidates makes of the same settings"
            )
        return sam.pool.draw(images, np.random.default_rng([self._seed, iteration, ASKED]))

    # --- what the loss makes of it --------------------------------------------------------

    def loss(
        self,
        logits: Float[Tensor, "b text h w"],
        target: Int[Tensor, "b h w"],
        maps: Float[Tensor, "b map h w"] | None = None,
        weight: float | None = None,
    ) -> Float[Tensor, ""]:
        """Focal loss of the prompts that have nothing in their image, mean over known pixels.

        Args:
            logits: of the classes, then of generic prompts, which no mask has anything of.
            weight: in place of `prompt_weight`.
        """
        if not self.given.prompt:
            return logits.new_zeros(())
        found, seen = known_truth(target, logits.shape[1])
        absent = ~found.any(dim=(2, 3))
        known = seen & absent[:, :, None, None]
        if maps is not None:
            excluded = self._excluded(maps)
            known[:, : excluded.shape[1]] &= ~excluded
        wrong = torch.sigmoid(logits) ** self.given.gamma * functional.softplus(logits)
        weight = self.given.prompt_weight if weight is None else weight
        return weight * (wrong * known).sum() / known.sum().clamp_min(1)

    def weights(
        self,
        logits: Float[Tensor, "b class h w"],
        target: Int[Tensor, "b h w"],
        maps: Float[Tensor, "b map h w"] | None,
    ) -> Float[Tensor, "b class h w"] | None:
        """Weights of pixels in the loss under tiers 3 and 4; None where both are off."""
        given = self.now
        if not (given.pixel or given.boundary):
            return None
        weights = torch.ones_like(logits)
        if given.boundary and maps is not None:
            weights = maps[:, : logits.shape[1]].clamp_min(1)
        if given.pixel:
            truth, seen = known_truth(target, logits.shape[1])
            known = seen.expand_as(truth)
            if maps is not None:
                known = known & ~self._excluded(maps)
            ohem = given.ohem
            weights = weights * mined_pixels(logits, truth, known, ohem.ratio, ohem.floor)
        return weights

    @property
    def mapper(self) -> Maps | None:
        """What gives the maps of a volume, if any are needed."""
        return self._maps if self.given.boundary or self.given.guards else None

    def _maps(self, volume: int) -> Float32[np.ndarray, "map x y z"]:
        """Boundary weights, then what is not mined, one map a class each."""
        weights, out = self._weights[volume], self.review.excluded.get(volume)
        excluded = np.zeros_like(weights) if out is None else out
        return np.concatenate([weights, excluded]).astype(np.float32)

    @staticmethod
    def _excluded(maps: Tensor) -> Tensor:
        return maps[:, maps.shape[1] // 2 :] > 0.5

    # --- looking at volumes ---------------------------------------------------------------

    def prepare(self, mosaics: LabeledMosaics, num_prompts: int) -> None:
        """Count the volumes, and measure the contrast of every boundary, once.

        Raises:
            TrainingError: a volume has no spacing.
        """
        self._volumes = len(mosaics)
        if self.mapper is None:
            return
        for index in range(len(mosaics)):
            mask, spacing = mosaics.mask(index), mosaics.spacing(index)
            if self.given.boundary:
                gray = mosaics.gray(index)
                made = boundary_weights(gray, mask, num_prompts, spacing, self.given.contrast)
            else:
                made = np.ones((num_prompts, *mask.shape), np.float32)
            self._weights[index] = made.astype(np.float16)

    def refresh(self, iteration: int, iterations: int, sam: Sam, mosaics: LabeledMosaics) -> None:
        """Measure hardness and false positives with the model of the moment, if it is time."""
        if not (self.given.looks and self.given.due(iteration, iterations)):
            return
        rng = np.random.default_rng([self._seed, iteration, STREAM])
        groups = self._patients(mosaics)
        patients: dict[str, list[int]] = {}
        for index in rng.permutation(len(mosaics))[: self.given.volumes].tolist():
            patients.setdefault(groups[index], []).append(index)
        recalls: dict[int, float] = {}
        sam.eval()
        for members in patients.values():
            seen = {i: self._predicted(sam, mosaics.plain(i)[0]) for i in members}
            if self.given.guards:
                recalls |= self._judge(seen, mosaics)
            for index, p in seen.items():
                self._hard[index] = self._hardness(p, index, mosaics)
        sam.train()
        self._recall.look(recalls)

    def _judge(self, seen: dict[int, np.ndarray], mosaics: LabeledMosaics) -> dict[int, float]:
        """Note what is not mined in the volumes of a patient; their recalls."""
        guard, recalls, found = self.given.guard, {}, {}
        for index, p in seen.items():
            mask = mosaics.mask(index)
            volume = unstitch_foreground(mosaics.layout(index), p)
            recalls[index] = recall_of(volume, mask, guard.threshold)
            spacing = mosaics.spacing(index)
            found[index] = [
                false_positives(part, mask, label, spacing, mosaics.axis, guard)
                for label, part in enumerate(volume, start=1)
            ]
        spacings = {index: mosaics.spacing(index) for index in seen}
        made = judge(found, mosaics.cases, self._patients(mosaics), spacings, guard)
        self.review.excluded |= made.excluded
        self.review.rows |= made.rows
        return recalls

    def _patients(self, mosaics: LabeledMosaics) -> Sequence[str]:
        return self._groups or [str(index) for index in range(len(mosaics))]

    def _hardness(
        self, p: np.ndarray, index: int, mosaics: LabeledMosaics
    ) -> Float[np.ndarray, "class mosaic"]:
        out = self.review.excluded.get(index)
        if out is not None:
            p = np.where(mosaics.layout(index).stitch(out.astype(np.float32)) > 0.5, 0, p)
        return np.stack([hardness(p[:, k], self.given.top) for k in range(p.shape[1])])

    def _predicted(
        self, sam: Sam, mosaics: Float[np.ndarray, "mosaic channel h w"]
    ) -> Float[np.ndarray, "mosaic class h w"]:
        """Probabilities of all mosaics of a volume."""
        parts = []
        with torch.inference_mode():
            for first in range(0, len(mosaics), BATCH):
                images = torch.from_numpy(mosaics[first : first + BATCH]).to(sam.device)
                parts.append(torch.sigmoid(sam(three_channels(images))).float().cpu().numpy())
        return np.concatenate(parts)

    # --- what is kept ---------------------------------------------------------------------

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The review queue: components that may be labels that are missing."""
        return [row for index in sorted(self.review.rows) for row in self.review.rows[index]]

    def state(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        state: dict[str, Any] = {str(i): torch.from_numpy(hard) for i, hard in self._hard.items()}
        if self.given.guards:
            state["guards"] = {
                "factor": self._recall.factor,
                "best": dict(self._recall.best),
                "rows": json.dumps({str(i): rows for i, rows in self.review.rows.items()}),
                "excluded": {i: torch.from_numpy(out) for i, out in self.review.excluded.items()},
            }
        return state

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._hard = {int(i): hard.numpy() for i, hard in state.items() if i != "guards"}
        if guards := state.get("guards"):
            self._recall.factor, self._recall.best = guards["factor"], dict(guards["best"])
            self.review = Review(
                excluded={i: out.cpu().numpy() for i, out in guards["excluded"].items()},
                rows={int(i): rows for i, rows in json.loads(guards["rows"]).items()},
            )
