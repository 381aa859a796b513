"""One simulated person and one model: clicks and corrections on one object of one slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from salearn.prompts.clicks import Larger, next_click
from salearn.prompts.geometry import Click, Prompt, PromptView
from salearn.prompts.scores import ClickCurve, plane_counts


@dataclass(frozen=True, eq=False)
class Talk:
    """How a dialogue went.

    Attributes:
        answer: the last one. clicks: all that were made.
    """

    curve: ClickCurve
    answer: Bool[np.ndarray, "h w"]
    clicks: tuple[Click, ...]


def talk(
    view: PromptView,
    label: int,
    reference: Bool[np.ndarray, "h w"],
    known: Bool[np.ndarray, "h w"],
    start: Float[np.ndarray, "h w"] | None,
    most: int,
    stop: float,
    larger: Larger = "area",
) -> Talk:
    """Click on the larger error region until nothing is wrong, Dice is `stop`, or `most` clicks.

    Args:
        view: of the slice, by a model that takes clicks.
        start: logits that the first click corrects; None = an empty answer.
        stop: 1 or more clicks on to the end.
    """
    logits = start
    answer = np.zeros(reference.shape, bool) if start is None else start > 0
    clicks: list[Click] = []
    counts = [plane_counts(answer, reference, known)]
    while len(clicks) < most and not counts[-1].dice >= stop:
        click = next_click(answer, reference, clicks, known, larger)
        if click is None:
            break
        clicks.append(click)
        logits = view.segment(Prompt(label=label, clicks=tuple(clicks)), logits)
        answer = logits > 0
        counts.append(plane_counts(answer, reference, known))
    return Talk(ClickCurve(tuple(counts)), answer, tuple(clicks))
