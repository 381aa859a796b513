"""What is asked about a generated scene, in words, and the answer as a mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from salearn.data.procedural import Scene, Solid
from salearn.data.procedural_shapes import KINDS

# Negative and positive end of x, y, z in RAS.
DIRECTIONS = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
VIEWS = ("sagittal", "coronal", "axial")  # sliced along x, y, z
# Axes of slicing in which a direction is asked without naming the view, so that the words mean one
# way through the mosaic: left/right and superior/inferior within the slice, anterior/posterior
# across coronal slices. With the view in front every direction works in every view.
PLAIN_VIEWS = ((1, 2), (1,), (0, 1))
NOUNS = ("object", "organ", "structure", "lesion", "region")
WORDS = (
    *(word for pair in DIRECTIONS for word in pair),
    *VIEWS,
    *KINDS,
    *("part", "half", "side", "end", "central", "middle", "core", "shell", "inner", "outer"),
    *("whole", "all", "other", "largest", "large", "smallest", "small", "bright", "dark"),
    *("background", "tumor", "tissue", "head", "body", "tail", "ventricle", "muscle", "bone"),
    *NOUNS,
)
UNKNOWN = 400  # made-up words that stand for what the model has never heard
NO_TISSUE = 255
FAR = 1.4  # the largest object must be so many times larger than the next


@dataclass(frozen=True)
class Query:
    """One question. `kind` is central, part, core, shell, size, shade, form, all or tissue.

    Attributes:
        value: the direction, "largest"/"smallest", "bright"/"dark" or the kind of solid.
    """

    kind: str
    value: str = ""


def queries(scene: Scene) -> list[Query]:
    """Everything that has one clear answer in this scene."""
    if scene.family == "anatomy":
        parts = [Query("part", word) for pair in DIRECTIONS for word in pair]
        shades = [Query("tissue", shade) for shade in _clear_tissues(scene)]
        return [Query("central"), *parts, Query("core"), Query("shell"), *shades]
    found = [Query("all")]
    found += [Query("size", word) for word in _clear_sizes(scene)]
    found += [Query("shade", word) for word in ("bright", "dark") if _shaded(scene, word)]
    kinds = {solid.kind for solid in scene.solids}
    return found + [Query("form", kind) for kind in KINDS if kind in kinds]


def answer(scene: Scene, query: Query) -> Bool[np.ndarray, "x y z"]:
    """The mask that a query means; empty where the scene has no such thing."""
    first = scene.solids[0]
    mask: np.ndarray = first.mask
    if query.kind == "part":
        mask = mask & _side(scene, query.value)
    if query.kind in {"core", "shell"}:
        core = first.level < scene.core
        mask = mask & (core if query.kind == "core" else ~core)
    if query.kind in {"central", "part", "core", "shell"}:
        return mask
    if query.kind == "tissue":
        tissues = _clear_tissues(scene)
        here: np.ndarray = scene.tissue == tissues.get(query.value, NO_TISSUE)
        return here
    return _union(scene, _meant(scene, query))


def phrase(query: Query, axis: int, rng: np.random.Generator) -> str:
    """Words for a query when the volume is sliced along `axis`; one of several ways to say it."""
    noun = _noun(rng)
    if query.kind == "part":
        return _part_phrase(query.value, axis, noun, rng)
    ways = {
        "central": (f"central {noun}", noun, f"whole {noun}"),
        "core": ("core", "inner part", f"{noun} core"),
        "shell": ("shell", "outer part", f"{noun} shell"),
        "all": ("all", "all object", f"all {noun}"),
        "size": (query.value, f"{query.value} object"),
        "shade": (f"{query.value} object", f"{query.value} organ"),
        "tissue": (f"{query.value} region", f"{query.value} tissue"),
        "form": (query.value, f"{query.value} object"),
    }[query.kind]
    return str(rng.choice(ways))


def _part_phrase(direction: str, axis: int, noun: str, rng: np.random.Generator) -> str:
    along = next(i for i, pair in enumerate(DIRECTIONS) if direction in pair)
    last = noun if rng.random() < 0.25 else str(rng.choice(["part", "part", "half", "end"]))
    words = f"{direction} {last}" if rng.random() < 0.8 else f"{direction} part {noun}"
    if axis in PLAIN_VIEWS[along] and rng.random() < 0.75:
        return words
    return f"{VIEWS[axis]} {words}"


def _noun(rng: np.random.Generator) -> str:
    """Mostly "object"; now and then a word that nobody has heard, which means just the same."""
    chance = rng.random()
    if chance < 0.5:
        return "object"
    if chance < 0.8:
        return str(rng.choice(NOUNS[:-1]))
    return f"thing{int(rng.integers(UNKNOWN))}"


def _side(scene: Scene, direction: str) -> Bool[np.ndarray, "x y z"]:
    axis = next(i for i, pair in enumerate(DIRECTIONS) if direction in pair)
    cut = scene.cuts[axis]
    return cut if direction == DIRECTIONS[axis][1] else ~cut


def _meant(scene: Scene, query: Query) -> list[Solid]:
    if query.kind == "all":
        return list(scene.solids)
    if query.kind == "size":
        chosen = _clear_sizes(scene)
        return [chosen[query.value]] if query.value in chosen else []
    if query.kind == "shade":
        return _shaded(scene, query.value)
    return [solid for solid in scene.solids if solid.kind == query.value]


def _clear_sizes(scene: Scene) -> dict[str, Solid]:
    """The largest and the smallest object, where they are so by a clear margin."""
    ordered = sorted(scene.solids, key=lambda solid: solid.size)
    found: dict[str, Solid] = {}
    if len(ordered) > 1 and ordered[-1].size > FAR * ordered[-2].size:
        found["largest"] = ordered[-1]
    if len(ordered) > 1 and ordered[1].size > FAR * ordered[0].size:
        found["smallest"] = ordered[0]
    return found


def _shaded(scene: Scene, shade: str) -> list[Solid]:
    return [solid for solid in scene.solids if solid.brighter is (shade == "bright")]


def _clear_tissues(scene: Scene) -> dict[str, int]:
    """The brightest and the darkest tissue, where they are so by a clear margin."""
    present = np.unique(scene.tissue)
    order = present[np.argsort(scene.signal[present])]
    if len(order) < 2:
        return {}
    found: dict[str, int] = {}
    if scene.signal[order[-1]] - scene.signal[order[-2]] > 0.1:
        found["bright"] = int(order[-1])
    if scene.signal[order[1]] - scene.signal[order[0]] > 0.1:
        found["dark"] = int(order[0])
    return found


def _union(scene: Scene, solids: list[Solid]) -> Bool[np.ndarray, "x y z"]:
    mask: np.ndarray = np.zeros(scene.image.shape, bool)
    for solid in solids:
        mask = mask | solid.mask
    return mask
