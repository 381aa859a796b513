"""What a model sees of a CT phase: HU windows, neighbouring slices, the three planes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8

from loops.itv.config import Mode, StructureSettings
from salearn.cases import IGNORE

Order = tuple[int, int, int]
HuWindow = tuple[float, float]
PLANES: tuple[Order, ...] = ((0, 1, 2), (0, 2, 1), (1, 2, 0))  # the last axis is sliced
MOST = 1e-6  # background probability is never taken to be less


@dataclass(frozen=True, kw_only=True)
class Group:
    """Structures that are seen in one window.

    Attributes:
        labels: their class numbers 1..K.
    """

    window: HuWindow
    labels: tuple[int, ...]

    def mask(self, mask: UInt8[np.ndarray, "x y z"]) -> UInt8[np.ndarray, "x y z"]:
        """The mask with the classes of the group as 1..; other classes are background."""
        table = np.zeros(256, np.uint8)
        table[IGNORE] = IGNORE
        for number, label in enumerate(self.labels, start=1):
            table[label] = number
        chosen: np.ndarray = table[mask]
        return chosen


def groups_of(classes: Sequence[str], structures: Mapping[str, StructureSettings]) -> list[Group]:
    """The classes by window, in the order of their first class."""
    found: dict[HuWindow, list[int]] = {}
    for label, name in enumerate(classes, start=1):
        found.setdefault(structures[name].window, []).append(label)
    return [Group(window=window, labels=tuple(labels)) for window, labels in found.items()]


def windowed(
    image: Float[np.ndarray, "channel x y z"], window: HuWindow
) -> Float32[np.ndarray, "channel x y z"]:
    """HU brought to -1..1 over a window of (level, width), clipped."""
    level, width = window
    scaled: np.ndarray = np.clip((image - level) * (2 / width), -1, 1).astype(np.float32)
    return scaled


def all_windows(
    image: Float[np.ndarray, "1 x y z"], windows: Sequence[HuWindow]
) -> Float32[np.ndarray, "channel x y z"]:
    """One channel for each window: what the student sees."""
    return np.concatenate([windowed(image, window) for window in windows])


def neighbours(image: Float32[np.ndarray, "1 x y z"], axis: int) -> Float32[np.ndarray, "3 x y z"]:
    """Slice before, slice, slice after as three channels; the first and last one repeat."""
    one = image[0]
    last = one.shape[axis] - 1
    index = np.arange(last + 1)
    near = [np.take(one, np.clip(index + step, 0, last), axis) for step in (-1, 0, 1)]
    return np.stack(near)


def orders(mode: Mode) -> tuple[Order, ...]:
    """Orders of the axes that a volume is shown in."""
    return PLANES if mode == "planes" else PLANES[:1]


def shown(
    image: Float[np.ndarray, "1 x y z"], window: HuWindow, mode: Mode, axis: int
) -> Iterator[Float32[np.ndarray, "channel _a _b _c"]]:
    """The volume as a mode shows it, once for each of `orders`."""
    seen = windowed(image, window)
    if mode == "rgb":
        seen = neighbours(seen, axis)
    for order in orders(mode):
        yield turned(seen, order)


def turned(
    array: Shaped[np.ndarray, "channel x y z"], order: Order
) -> Shaped[np.ndarray, "channel _a _b _c"]:
    """Axes in another order, contiguous."""
    return np.ascontiguousarray(np.transpose(array, (0, *(1 + axis for axis in order))))


def turned_back(
    array: Shaped[np.ndarray, "channel a b c"], order: Order
) -> Shaped[np.ndarray, "channel _x _y _z"]:
    """The inverse of `turned`."""
    x, y, z = (int(axis) for axis in np.argsort(order))
    return turned(array, (x, y, z))


def together(
    parts: Sequence[tuple[Group, Float[np.ndarray, "_part x y z"]]], num_classes: int
) -> Float32[np.ndarray, "class x y z"]:
    """Class probabilities of all groups: one softmax over the logits of all prompts.

    A group answers p = softmax(0, logits); its odds p_c / p_0 are exp(logit_c), whatever else is
    in the group, so that odds of several groups can be put side by side.
    """
    odds = np.zeros((num_classes, *parts[0][1].shape[1:]), np.float32)
    odds[0] = 1
    for group, p in parts:
        for number, label in enumerate(group.labels, start=1):
            odds[label] = p[number] / np.maximum(p[0], MOST)
    made: np.ndarray = odds / odds.sum(axis=0)
    return made
