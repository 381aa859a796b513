"""Unlabeled cases: predictions become boxes or clicks, the tracker answers, a person may look."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from loops.interactive.config import InteractiveConfig
from loops.interactive.objects import slices_of
from loops.interactive.pair import Pair
from loops.stitch import Stitcher
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.data.volumes import result_name, write_labels
from salearn.models.sam3_segmenter import SamSegmenter
from salearn.prompts.door import Prediction, UnlabeledDoor, predict
from salearn.prompts.geometry import Prompt

PREDICTED = "unlabeled"


def prompt_unlabeled(
    bench: Workbench, config: InteractiveConfig, pair: Pair
) -> list[dict[str, Any]]:
    """Write the tracker's labels of some pool cases; their masks stay shut.

    Returns:
        A row a case: share of voxels on which tracker and detector agree (Dice of foreground),
        prompts, and the seconds they would cost if a person made or corrected all of them.
    """
    asked, axis = config.interactive, config.data.axis
    door = UnlabeledDoor(axis, asked.components, asked.unlabeled_prompt)
    names = [options[0] for options in pair.texts.values()]
    segmenter = SamSegmenter(Pair.detector(config, names), Stitcher(config.stitch, axis))
    rows = []
    for case in bench.split.pool[: asked.unlabeled]:
        image = bench.volume(case).image
        prediction = predict(segmenter, case, image)
        prompts = door.prompts(prediction)
        labels = refined(pair, image, prompts, axis)
        _write(bench, case, labels)
        made = [prompt for own in prompts.values() for prompt in own]
        cost = asked.cost.of(made, labels.shape[axis])
        rows.append({"case": case, "agreement": _agreement(prediction, labels)} | cost)
    return rows


def refined(
    pair: Pair,
    image: Float[np.ndarray, "channel x y z"],
    prompts: dict[int, list[Prompt]],
    axis: int,
) -> UInt8[np.ndarray, "x y z"]:
    """The tracker's labels: on each slice the class of the greatest logit above 0."""
    labels = np.zeros(image.shape[1:], np.uint8)
    slices = np.moveaxis(labels, axis, 0)
    indices = sorted(prompts)
    images = slices_of(image, axis, indices)
    views = pair.clicks.see(images)
    for index, view in zip(indices, views, strict=True):
        best = np.zeros(slices.shape[1:], np.float32)
        for prompt in prompts[index]:
            logits = view.segment(prompt)
            slices[index][logits > best] = prompt.label
            best = np.maximum(best, logits)
    return labels


def _agreement(prediction: Prediction, labels: UInt8[np.ndarray, "x y z"]) -> float:
    before, after = prediction.probabilities.argmax(axis=0) > 0, labels > 0
    total = int(before.sum() + after.sum())
    return 2 * int((before & after).sum()) / total if total else 1.0


def _write(bench: Workbench, case: CaseId, labels: UInt8[np.ndarray, "x y z"]) -> None:
    file = bench.out / PREDICTED / result_name(bench.cases[case])
    write_labels(file, labels, bench.volume(case).source, bench.dataset.values)
