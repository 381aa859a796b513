"""Batches of pretraining: generated scenes as mosaics or single slices, with prompts and masks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from salearn.cases import IGNORE
from salearn.data.procedural import Scene, SceneSettings, draw_scene
from salearn.data.procedural_prompts import DIRECTIONS, Query, answer, phrase, queries
from salearn.models.pixels import Window, three_channels
from salearn.mosaic import MosaicStitcher
from salearn.settings import Field, settings

MOST_PROMPTS = 6  # masks of one image travel as bits of a byte; all bits set is void
WEIGHTS = {"central": 2.0, "part": 1.0, "core": 0.7, "shell": 0.7, "tissue": 0.7, "size": 1.5}
Triple = tuple[int, int, int]
# (single slices?, tile side in pixels, slice axis) -> what lays the slices out
MakeStitcher = Callable[[bool, int, int], MosaicStitcher]


@settings
class View:
    """One way to show a volume to the model.

    Attributes:
        mode: "mosaic" of its slices, or "single" slices enlarged to the canvas.
        canvas, tile: sides in pixels.
        batch: volumes in a step. slices: taken from each of them, for "single".
        step: mm from slice to slice; within a slice a pixel is about 1 mm.
        weight: how often, relative to the other views of the phase.
    """

    mode: Literal["mosaic", "single"] = "mosaic"
    canvas: int = Field(default=128, ge=32, multiple_of=32)
    tile: int = Field(default=32, ge=16)
    batch: int = Field(default=1, ge=1)
    slices: int = Field(default=8, ge=1)
    step: float = Field(default=1.0, gt=0)
    weight: float = Field(default=1.0, gt=0)


@settings
class Phase:
    """A part of the curriculum.

    Attributes:
        share: of all steps. prompts: asked in a step. kinds: that are asked; None = all.
        axes: how often volumes are sliced along x, y, z. scenes: instead of the recipe's.
    """

    share: float = Field(gt=0, le=1)
    prompts: int = Field(default=3, ge=1, le=MOST_PROMPTS)
    views: tuple[View, ...] = Field(min_length=1)
    kinds: tuple[str, ...] | None = None
    axes: tuple[float, float, float] = (0.25, 0.5, 0.25)
    scenes: SceneSettings | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one step learns from.

    Attributes:
        images: -1..1. truth: 1 where the prompt means the pixel. known: 0 in void.
        prompts, kinds: text and kind of each question.
    """

    images: Float[Tensor, "b 3 side side"]
    truth: Float[Tensor, "b prompt side side"]
    known: Float[Tensor, "b 1 side side"]
    prompts: list[str]
    kinds: list[str]


def draw_batch(
    phase: Phase, scenes: SceneSettings, make: MakeStitcher, token: int, rng: np.random.Generator
) -> Batch:
    """A batch of one view; all its volumes are of one family and are asked the same questions.

    Args:
        make: lays slices out. token: patch of the model, pixels.
    """
    scenes = phase.scenes or scenes
    weights = np.array([view.weight for view in phase.views])
    view = phase.views[int(rng.choice(len(weights), p=weights / weights.sum()))]
    axis = int(rng.choice(3, p=np.array(phase.axes) / sum(phase.axes)))
    family = "anatomy" if rng.random() < scenes.anatomy else "objects"
    if phase.kinds and "central" in phase.kinds:
        family = "anatomy"
    drawn = [_draw(view, axis, scenes, family, rng) for _ in range(view.batch)]
    asked = _ask(drawn[0], axis, phase, rng)
    stitcher = make(view.mode == "single", view.tile, axis)
    images, masks = zip(*(_lay(s, asked, stitcher, view.canvas, token) for s in drawn), strict=True)
    bits = np.concatenate(masks)
    known = (bits != IGNORE)[:, None]
    truth = np.stack([(bits >> i) & 1 for i in range(len(asked))], axis=1) * known
    return Batch(
        images=three_channels(torch.from_numpy(np.concatenate(images))),
        truth=torch.from_numpy(truth.astype(np.float32)),
        known=torch.from_numpy(known.astype(np.float32)),
        prompts=[phrase(query, axis, rng) for query in asked],
        kinds=[query.kind for query in asked],
    )


def _draw(
    view: View, axis: int, scenes: SceneSettings, family: str, rng: np.random.Generator
) -> Scene:
    """A volume that one mosaic of the view can hold, or with the slices to be shown."""
    room = (view.canvas // view.tile) ** 2
    depth = int(rng.integers(max(1, round(0.62 * room)), room + 1))
    apart = view.step
    if view.mode == "single":
        depth, apart = view.slices, view.step * rng.uniform(0.7, 1.3)
    sides = [int(n) for n in rng.integers(round(0.75 * view.tile), round(1.2 * view.tile) + 1, 2)]
    pixel = 32 / view.tile  # a larger tile shows the same extent in more detail
    shape, step = [*sides], [pixel, pixel]
    shape.insert(axis, depth)
    step.insert(axis, apart)
    return draw_scene(
        (shape[0], shape[1], shape[2]), (step[0], step[1], step[2]), scenes, rng, family
    )


def _ask(scene: Scene, axis: int, phase: Phase, rng: np.random.Generator) -> list[Query]:
    """Questions to a scene; both halves of one axis are often asked together."""
    options = [q for q in queries(scene) if phase.kinds is None or q.kind in phase.kinds]
    asked: list[Query] = []
    parts = {q.value: q for q in options if q.kind == "part"}
    if parts and phase.prompts > 1 and rng.random() < 0.6:
        along = axis if rng.random() < 0.5 else int(rng.integers(3))
        asked = [parts[word] for word in DIRECTIONS[along]]
        options = [q for q in options if q not in asked]
    count = min(phase.prompts - len(asked), len(options))
    weights = np.array([WEIGHTS.get(q.kind, 1.0) for q in options])
    if count > 0:
        chosen = rng.choice(len(options), count, replace=False, p=weights / weights.sum())
        asked += [options[i] for i in chosen]
    return asked


def _lay(
    scene: Scene, asked: list[Query], stitcher: MosaicStitcher, canvas: int, token: int
) -> tuple[Any, Any]:
    bits = np.zeros(scene.image.shape, np.uint8)
    for i, query in enumerate(asked):
        bits |= answer(scene, query).astype(np.uint8) << i
    image = scene.image[None]
    layout = stitcher.layout(scene.image.shape, canvas, token)
    return layout.stitch(Window.of(image).scaled(image)), layout.stitch_mask(bits)
