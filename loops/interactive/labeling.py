"""Labels by clicks: a simulated person corrects SAM3 on every slice, and is paid by the click."""

from __future__ import annotations

from typing import Any

import numpy as np

from loops.interactive.config import InteractiveConfig
from loops.interactive.dialogue import talk
from loops.interactive.objects import slices_of
from loops.interactive.pair import Pair
from loops.workbench import Workbench
from salearn.cases import CaseId, unit_id
from salearn.data.volumes import result_name, write_labels
from salearn.prompts.door import Reference
from salearn.prompts.geometry import Prompt, PromptView
from salearn.prompts.scores import plane_counts
from salearn.store import file_hash

MASKS = "masks"


def label_by_clicks(
    bench: Workbench, config: InteractiveConfig, pair: Pair
) -> list[dict[str, Any]]:
    """Label pool cases; each becomes an annotated unit whose cost is looks and clicks.

    The person is simulated from the mask, which is opened as "audit". What is annotated is the
    answer of the model after the clicks, not the mask; it is written to masks/ and logged with its
    hash, as a mask that a person returned.

    Returns:
        A row a case: Dice against the mask, clicks, seconds, and the seconds of drawing it.
    """
    rows = []
    masked = [case for case in bench.split.pool if case in bench.dataset.masks]
    for case in masked[: config.interactive.labels]:
        reference = Reference.revealed(bench.oracle, case, "audit")
        labels, made = _clicked(bench, config, pair, case, reference)
        cost = config.interactive.cost.of(made, labels.shape[config.data.axis])
        file = f"{MASKS}/{result_name(bench.cases[case])}"
        volume = bench.volume(case)
        write_labels(bench.out / file, labels, volume.source, bench.dataset.values)
        spent = {name: cost[name] for name in ("boxes", "clicks", "seconds")}
        source = {"by": "clicks", "file": file, "sha256": file_hash(bench.out / file)} | spent
        bench.oracle.accept(unit_id(case), 0, source)
        drawn = bench.config.cost.seconds(_drawn(reference, config.data.axis), 0)
        row = {"case": case, "dice": _dice(labels, reference), "drawing_seconds": drawn}
        rows.append(row | cost)
    return rows


def _clicked(
    bench: Workbench, config: InteractiveConfig, pair: Pair, case: CaseId, reference: Reference
) -> tuple[np.ndarray, list[Prompt]]:
    """Labels of a case after the clicks, and the clicks."""
    axis = config.data.axis
    labels = np.zeros(reference.mask.shape, np.uint8)
    slices = np.moveaxis(labels, axis, 0)
    images = slices_of(bench.volume(case).image, axis, range(len(slices)))
    made: list[Prompt] = []
    for index, views in enumerate(pair.see(images)):
        for label in range(1, len(bench.dataset.classes) + 1):
            answer, prompt = _object(config, views, label, reference, index)
            slices[index][answer & (slices[index] == 0)] = label
            made.append(prompt)
    return labels, made


def _object(
    config: InteractiveConfig,
    views: tuple[PromptView, PromptView],
    label: int,
    reference: Reference,
    index: int,
) -> tuple[np.ndarray, Prompt]:
    """One class on one slice. A slice that does not show it is cleared with one click."""
    asked, axis = config.interactive, config.data.axis
    plane, known = reference.plane(label, axis, index), reference.known(axis, index)
    start = None if asked.start == "empty" else views[0].segment(Prompt(label=label))
    if not plane.any():
        return plane, Prompt(label=label)  # "not here": part of looking at the slice
    done = talk(
        views[1], label, plane, known, start, asked.max_clicks, asked.label_dice, asked.larger
    )
    return done.answer, Prompt(label=label, clicks=done.clicks)


def _drawn(reference: Reference, axis: int) -> int:
    others = tuple(i for i in range(3) if i != axis)
    return int((reference.mask > 0).any(axis=others).sum())


def _dice(labels: np.ndarray, reference: Reference) -> float:
    """Mean over the classes that are there."""
    present = [int(label) for label in np.unique(reference.mask) if 0 < label < 255]
    flat, truth = labels.reshape(len(labels), -1), reference.mask.reshape(len(labels), -1)
    values = [plane_counts(flat == label, truth == label).dice for label in present]
    return float(np.mean(values)) if values else float("nan")
