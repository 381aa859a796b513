"""Slices of generated scenes, each with one object to be clicked on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from salearn.data.procedural import Scene, SceneSettings, draw_scene
from salearn.data.procedural_prompts import answer, queries
from salearn.models.pixels import Window
from salearn.prompts.boxes import components
from salearn.resize import resize_linear, resize_nearest

LEAST = 6  # pixels of the mask grid: smaller objects are not asked for
SIDES = (26, 49)  # voxels of a slice, drawn for both sides
DEPTH = 20  # slices of a scene
MOST_PARTS = 4
# What an image lets one guess is asked for seldom: otherwise clicks are not listened to.
KIND_WEIGHTS = {"central": 0.6, "part": 1.0, "core": 0.7, "shell": 0.4, "tissue": 1.0}
ONE_PART = 0.7  # share of the objects of which one connected part is meant


@dataclass(frozen=True, eq=False)
class Slices:
    """Inputs and what is meant on them.

    Attributes:
        images: intensities -1..1, resized to the input of the model.
        targets: the object on the grid of the mask decoder.
        others: another object of the same slice or a spoilt copy, where an answer may start from.
    """

    images: Float32[np.ndarray, "slice 1 side side"]
    targets: Bool[np.ndarray, "slice grid grid"]
    others: Bool[np.ndarray, "slice grid grid"]


def draw_slices(
    given: SceneSettings, count: int, side: int, grid: int, rng: np.random.Generator
) -> Slices:
    """Slices of freshly drawn scenes; equal for equal arguments and state of `rng`."""
    images: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    others: list[np.ndarray] = []
    while len(images) < count:
        for image, target, other in _of_scene(given, (count + 1) // 2, rng):
            images.append(resize_linear(image[None], (side, side)))
            targets.append(resize_nearest(target, (grid, grid)))
            others.append(resize_nearest(other, (grid, grid)))
    return Slices(
        np.stack(images[:count]).astype(np.float32),
        np.stack(targets[:count]),
        np.stack(others[:count]),
    )


def _of_scene(
    given: SceneSettings, most: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    axis = int(rng.integers(3))
    sides = [int(n) for n in rng.integers(*SIDES, 2)]
    sides.insert(axis, DEPTH)
    shape = (sides[0], sides[1], sides[2])
    step = [1.0, 1.0, 1.0]
    step[axis] = 1.5
    scene = draw_scene(shape, (step[0], step[1], step[2]), given, rng)
    image = Window.of(scene.image[None]).scaled(scene.image[None])[0]
    masks = _asked(scene, rng)
    places = [(m, z) for m in range(len(masks)) for z in range(DEPTH)
              if masks[m].take(z, axis).sum() >= LEAST]  # fmt: skip
    chosen = rng.permutation(len(places))[:most]
    found = []
    for m, z in (places[i] for i in chosen):
        other = masks[int(rng.integers(len(masks)))].take(z, axis)
        target = _meant(masks[m].take(z, axis), rng)
        found.append((image.take(z, axis), target, _spoilt(other, rng)))
    return found


def _meant(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Often one connected part only; which one, a click says."""
    if rng.random() >= ONE_PART:
        return mask
    parts = [part for part in components(mask, MOST_PARTS) if part.sum() >= LEAST]
    return parts[int(rng.integers(len(parts)))] if parts else mask


def _asked(scene: Scene, rng: np.random.Generator) -> list[np.ndarray]:
    """The masks of up to four questions to a scene."""
    options = queries(scene)
    weights = np.array([KIND_WEIGHTS.get(query.kind, 1.0) for query in options])
    count = min(4, len(options))
    drawn = rng.choice(len(options), count, replace=False, p=weights / weights.sum())
    return [answer(scene, options[int(i)]) for i in drawn]


def _spoilt(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A mask as a weak model might give it: shifted by up to three pixels."""
    shifted: np.ndarray = np.roll(mask, tuple(int(n) for n in rng.integers(-3, 4, 2)), (0, 1))
    return shifted
