"""Hard negatives: four tiers, and which slices without a structure are shown, how often."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int

from salearn.generic_prompts import GenericSettings
from salearn.hard_negatives_boundary import ContrastSettings
from salearn.hard_negatives_guard import GuardSettings
from salearn.settings import Field, settings


@settings
class OhemSettings:
    """Pixel tier: K = min(N, ratio max(P, floor Omega)) background pixels are kept.

    Attributes:
        ratio: of kept background to positive pixels.
        floor: share of an image's known pixels that stands for its positives where it has fewer.
    """

    ratio: float = Field(default=3.0, gt=0)
    floor: float = Field(default=0.005, gt=0, le=1)


@settings
class NegativeSettings:
    """Mining of negatives for text-prompted slices, in four tiers that are switched one by one.

    Attributes:
        prompt: tier 1, a focal loss on prompts whose structure is not in the image.
        generic: further prompts of tier 1, from a pool of texts that no image shows; off.
        slice: tier 2, slices without a structure are drawn by hardness, in a fixed proportion.
        pixel: tier 3, the pixel loss is taken over positives and the hardest background alone.
        boundary: tier 4, pixels weigh more near boundaries of little contrast.
        guards: what is not mined, see `GuardSettings`; off by default, as the stored results of
            tiers 1 and 2 had none.
        prompt_weight: of tier 1 beside finetune.loss=prompt; 0 = off. Loss "semantic" has a weight
            of its own; "sfr" has no tier 1, its softmax sees every class in every image.
        gamma: of that focal loss.
        share: of a step that shows slices without the structure (0.25 = one to three).
        per_volume: largest share of a step's slices without the structure that one volume gives
            (`volume_limit`); 0.25 in the source. 1 = no limit: a step is taken from as few volumes
            as fill it, as for all results stored before there was a limit.
        hard: share of these that is drawn by hardness; the others are drawn evenly.
        temperature: of hardness: weight exp(h / temperature).
        top: share of a slice's pixels, the highest probabilities, whose mean is its hardness.
        warm: share of the iterations before hardness counts.
        refresh: hardness is measured anew with the model of the moment after this share.
        volumes: most volumes that are measured each time.
        ohem, contrast, guard: of tiers 3 and 4, and of the guards.

    Source: adaptation notes 8.1 (a reconstruction; the paper only names hard negative mining).
    There warm-up and refresh are given in epochs; here they are shares.
    """

    NEWER: ClassVar[tuple[str, ...]] = (
        "prompt", "slice", "pixel", "boundary", "guards", "ohem", "contrast", "guard", "generic",
        "per_volume",
    )  # fmt: skip
    prompt: bool = True
    slice: bool = True
    pixel: bool = False
    boundary: bool = False
    guards: bool = False
    generic: GenericSettings = GenericSettings()
    prompt_weight: float = Field(default=0.5, ge=0)
    gamma: float = Field(default=2.0, ge=0)
    share: float = Field(default=0.25, ge=0, lt=1)
    per_volume: float = Field(default=1.0, gt=0, le=1)
    hard: float = Field(default=0.7, ge=0, le=1)
    temperature: float = Field(default=0.1, gt=0)
    top: float = Field(default=1e-3, gt=0, le=1)
    warm: float = Field(default=0.25, ge=0, le=1)
    refresh: float = Field(default=0.15, gt=0, le=1)
    volumes: int = Field(default=8, ge=1)
    ohem: OhemSettings = OhemSettings()
    contrast: ContrastSettings = ContrastSettings()
    guard: GuardSettings = GuardSettings()

    @property
    def looks(self) -> bool:
        """Whether volumes are measured while the model learns."""
        return self.slice or self.guards

    def due(self, iteration: int, iterations: int) -> bool:
        """Whether hardness is measured before this iteration (counted from 0)."""
        first, step = round(self.warm * iterations), max(1, round(self.refresh * iterations))
        return iteration >= max(1, first) and (iteration - first) % step == 0

    def eased(self, factor: float) -> NegativeSettings:
        """The same with the ratios of negatives to positives times `factor`."""
        if factor == 1:
            return self
        ratio = factor * self.share / (1 - self.share)
        ohem = replace(self.ohem, ratio=factor * self.ohem.ratio)
        return replace(self, share=ratio / (1 + ratio), ohem=ohem)


def hardness(
    probabilities: Float[np.ndarray, "slice h w"], top: float
) -> Float[np.ndarray, " slice"]:
    """Mean of the highest `top` share of each slice's probabilities, at least one pixel."""
    flat = probabilities.reshape(len(probabilities), -1)
    count = max(1, round(top * flat.shape[1]))
    highest = np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:]
    mean: np.ndarray = highest.mean(axis=1, dtype=np.float64)
    return mean


def pick_slices(
    present: Bool[np.ndarray, " slice"],
    hard: Float[np.ndarray, " slice"] | None,
    count: int,
    given: NegativeSettings,
    rng: np.random.Generator,
) -> Int[np.ndarray, " chosen"]:
    """`count` different slices (fewer if there are not so many), with and without a structure.

    Args:
        present: slices that show the structure.
        hard: hardness of each slice, or None while it is not known.
    """
    yes = int(present.sum())
    negatives = min(len(present) - yes, max(wanted_negatives(count, given, rng), count - yes))
    return take_slices(present, hard, count - negatives, negatives, given, rng)


def wanted_negatives(count: int, given: NegativeSettings, rng: np.random.Generator) -> int:
    """How many of `count` slices should lack the structure: right on average in small steps."""
    return int(np.floor(given.share * count + rng.random()))


def volume_limit(negatives: int, volumes: int, share: float) -> int:
    """Most slices without a structure that one volume may give to a step.

    floor(share * negatives), but at least one, and where there are too few volumes as many as make
    them all give alike: ceil(negatives / volumes).
    """
    return max(1, math.floor(share * negatives + 1e-9), math.ceil(negatives / volumes))


def take_slices(
    present: Bool[np.ndarray, " slice"],
    hard: Float[np.ndarray, " slice"] | None,
    positives: int,
    negatives: int,
    given: NegativeSettings,
    rng: np.random.Generator,
) -> Int[np.ndarray, " chosen"]:
    """So many different slices with the structure (evenly), and without it (by hardness)."""
    yes, no = np.flatnonzero(present), np.flatnonzero(~present)
    chosen = rng.permutation(yes)[:positives]
    return np.concatenate([chosen, _negatives(no, hard, negatives, given, rng)])


def _negatives(
    no: np.ndarray,
    hard: np.ndarray | None,
    count: int,
    given: NegativeSettings,
    rng: np.random.Generator,
) -> np.ndarray:
    if hard is None or count == 0:
        return rng.permutation(no)[:count]
    first = min(count, int(np.floor(given.hard * count + rng.random())))
    weight = np.exp((hard[no] - hard[no].max()) / given.temperature)
    # Gumbel noise and a sort: the same as drawing one after the other by weight.
    order = np.argsort(-(np.log(weight + 1e-30) + rng.gumbel(size=len(no))))
    rest = rng.permutation(no[order[first:]])
    return np.concatenate([no[order[:first]], rest[: count - first]])
