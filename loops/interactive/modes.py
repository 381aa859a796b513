"""The modes on the slices of one case: text, boxes, points, clicks; pixels by outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from loops.interactive.config import InteractiveSettings
from loops.interactive.dialogue import talk
from loops.interactive.objects import Target
from salearn.metrics.overlap import Counts
from salearn.prompts.boxes import simulated_boxes
from salearn.prompts.clicks import first_points
from salearn.prompts.door import Reference
from salearn.prompts.geometry import Prompt, PromptView
from salearn.prompts.scores import ClickCurve, plane_counts


@dataclass(frozen=True)
class Outcome:
    """What came of one way to prompt one class on one slice.

    Attributes:
        setting: what distinguishes it within its mode, e.g. "jitter 0.1" or "1 clicks".
        curve: of the whole dialogue, where the mode is one.
    """

    mode: str
    setting: str
    target: Target
    counts: Counts
    curve: ClickCurve | None = None


@dataclass(frozen=True, eq=False)
class Scene:
    """One class on one slice with everything that answers about it.

    Attributes:
        box_view: of the detector. click_view: of the tracker.
        key: what the random numbers of the object depend on, besides the mode.
    """

    target: Target
    reference: Bool[np.ndarray, "h w"]
    known: Bool[np.ndarray, "h w"]
    box_view: PromptView
    click_view: PromptView
    key: tuple[int, ...]

    def counts(
        self,
        logits: Float[np.ndarray, "h w"],
        reference: Bool[np.ndarray, "h w"] | None = None,
        known: Bool[np.ndarray, "h w"] | None = None,
    ) -> Counts:
        """Pixels by outcome; against the whole object if nothing else is said."""
        reference = self.reference if reference is None else reference
        return plane_counts(logits > 0, reference, self.known if known is None else known)


def scenes(
    reference: Reference,
    targets: Sequence[Target],
    axis: int,
    views: Mapping[int, tuple[PromptView, PromptView]],
    key: tuple[int, ...],
) -> Iterator[Scene]:
    """The objects of a case.

    Args:
        views: by slice, that of the detector and that of the tracker.
    """
    for target in targets:
        plane = reference.plane(target.label, axis, target.index)
        known = reference.known(axis, target.index)
        where = (*key, target.label, target.index)
        yield Scene(target, plane, known, *views[target.index], where)


def outcomes(scene: Scene, given: InteractiveSettings) -> Iterator[Outcome]:
    """Every mode that is asked for on one object."""
    ways = {
        "text": _text, "box": _box, "tracker_box": _tracker_box,
        "points": _points, "clicks": _clicks,
    }  # fmt: skip
    for mode in given.modes:
        yield from ways[mode](scene, given)


def _text(scene: Scene, given: InteractiveSettings) -> Iterator[Outcome]:
    logits = scene.box_view.segment(Prompt(label=scene.target.label))
    yield Outcome("text", "no prompt on the slice", scene.target, scene.counts(logits))


def _box(scene: Scene, given: InteractiveSettings) -> Iterator[Outcome]:
    yield from _boxed(scene, given, "box", scene.box_view)


def _tracker_box(scene: Scene, given: InteractiveSettings) -> Iterator[Outcome]:
    yield from _boxed(scene, given, "tracker_box", scene.click_view)


def _boxed(
    scene: Scene, given: InteractiveSettings, mode: str, view: PromptView
) -> Iterator[Outcome]:
    for share in given.jitter:
        # The same numbers for every share: only how far a side moves differs.
        rng = np.random.default_rng(scene.key)
        boxes = simulated_boxes(scene.reference, share, given.components, rng)
        logits = view.segment(Prompt(label=scene.target.label, boxes=boxes))
        yield Outcome(mode, f"jitter {share:g}", scene.target, scene.counts(logits))


def _points(scene: Scene, given: InteractiveSettings) -> Iterator[Outcome]:
    rng = np.random.default_rng((*scene.key, 1))
    clicks, part = first_points(scene.reference, given.points, given.components, rng)
    logits = scene.click_view.segment(Prompt(label=scene.target.label, clicks=clicks))
    # What was not prompted is not asked for: it counts neither as missed nor as too much.
    known = scene.known & (part | ~scene.reference)
    counts = scene.counts(logits, part, known)
    yield Outcome("points", f"{given.points} points", scene.target, counts)


def _clicks(scene: Scene, given: InteractiveSettings) -> Iterator[Outcome]:
    start = None
    if given.start == "text":
        start = scene.box_view.segment(Prompt(label=scene.target.label))
    stop = 2.0  # no Dice reaches it: the curve goes on until nothing is wrong
    done = talk(
        scene.click_view, scene.target.label, scene.reference, scene.known, start,
        given.max_clicks, stop, given.larger,
    )  # fmt: skip
    for n in given.dice_at:
        counts = done.curve.after(n)
        yield Outcome("clicks", f"{n} clicks", scene.target, counts, done.curve)


def rows_of_case(
    found: Sequence[Outcome], case: str, classes: Sequence[str]
) -> list[dict[str, Any]]:
    """Per mode, setting and class: Dice of the pixels of all slices, and the mean over slices."""
    groups: dict[tuple[str, str, int], list[Counts]] = {}
    for outcome in found:
        key = (outcome.mode, outcome.setting, outcome.target.label)
        groups.setdefault(key, []).append(outcome.counts)
    rows = []
    for (mode, setting, label), counts in groups.items():
        pooled = sum(counts, start=Counts(tp=0, fp=0, fn=0, tn=0))
        rows.append({
            "case": case, "class": classes[label - 1], "mode": mode, "setting": setting,
            "dice": pooled.dice, "slice_dice": float(np.mean([c.dice for c in counts])),
            "slices": len(counts),
        })  # fmt: skip
    return rows
