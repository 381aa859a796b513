"""Predict the validation and test cases with every stage, and score them case by case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from loops.measuring.overlays import CASES, Overlays, place_overlays
from loops.measuring.panels import Worst, place_panels
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.data.volumes import result_name, write_labels
from salearn.metrics.auc_levels import AucTable
from salearn.metrics.evaluate import evaluate_case, summarise
from salearn.segmenter import Segmenter
from salearn.settings import dump
from salearn.store import array_hash, content_key, read_lines, write_lines

MEASURE_VERSION = 1
Rows = list[dict[str, Any]]
Part = Literal["validation", "test"]
PARTS: tuple[Part, ...] = ("validation", "test")
PICTURED = ("student", "test")  # the stage and split whose worst cases the report shows


def measure(
    bench: Workbench, segmenters: Mapping[str, tuple[Segmenter, str]], round: int
) -> dict[str, Any]:
    """Scores of every stage on every split; per-case rows go to cases.jsonl of the run.

    With `auc.levels` the record gets "auc" too, and auc_cases.jsonl the presence scores.

    Args:
        segmenters: stage -> the segmenter and the key of what it was trained to.
    """
    rows: Rows = []
    areas: dict[str, Rows] = {"rows": [], "cases": []}
    for stage, (segmenter, key) in segmenters.items():
        for split in PARTS:
            entry = _scored(bench, segmenter, key, stage, split, round)
            rows += _labelled(entry, "rows", stage, split, round)
            for name in areas if bench.config.auc.levels else ():
                areas[name] += _labelled(entry, f"auc_{name}", stage, split, round)
    _keep(bench.out / "cases.jsonl", rows, round)
    found: dict[str, Any] = {"metrics": _summaries(rows)}
    if bench.config.auc.levels:
        _keep(bench.out / "auc_cases.jsonl", areas["cases"], round)
        found["auc"] = [{k: v for k, v in row.items() if k != "round"} for row in areas["rows"]]
    return found


def _labelled(entry: Path | None, name: str, stage: str, split: Part, round: int) -> Rows:
    """Rows of a store entry with the place they belong to."""
    rows: Rows = [] if entry is None else read_lines(entry / f"{name}.jsonl")
    return [{"round": round, "split": split, "stage": stage} | row for row in rows]


def _scored(
    bench: Workbench, segmenter: Segmenter, key: str, stage: str, split: Part, round: int
) -> Path | None:
    """Store entry with the rows of one stage on one split; None if the split has no case."""
    cases = tuple(sorted(getattr(bench.split, split)))
    if not cases:
        return None
    # Revealed here, so that it is logged even when the scores themselves are found.
    masks = {case: bench.oracle.reveal(case, split, round) for case in cases}
    against = [(case, bench.key(case), array_hash(mask)) for case, mask in masks.items()]
    auc = bench.config.auc
    how = [bench.dataset.classes, dump(bench.config.surface), *([dump(auc)] if auc.levels else [])]
    name = content_key("scores", MEASURE_VERSION, stage, key, against, how)

    def make(work: Path) -> None:
        with bench.progress.stage(f"round {round} measure {stage}"), bench.timed("measure", round):
            worst = Worst(bench.config.panels if (stage, split) == PICTURED else 0)
            slices = Overlays(bench.config.data.axis, CASES if (stage, split) == PICTURED else 0)
            areas = AucTable(bench.dataset.classes, auc)
            scored = _score(bench, segmenter, split, cases, round, worst, slices, areas)
            write_lines(work / "rows.jsonl", scored)
            if auc.levels:
                write_lines(work / "auc_rows.jsonl", areas.rows())
                write_lines(work / "auc_cases.jsonl", areas.cases)
            if cause := worst.write(work / "panels"):
                bench.progress.say(f"round {round}: no pictures of the worst cases ({cause})")
            if cause := slices.write(work / "overlays"):
                bench.progress.say(f"round {round}: no slices with overlay ({cause})")

    entry = bench.store.get("scores", name, make)
    if bench.config.save_predictions:
        _save(bench, segmenter, stage, cases, round)
    if (stage, split) == PICTURED:
        place_panels(bench, entry, round)
        place_overlays(bench, entry, round)
    return entry


def _score(
    bench: Workbench,
    segmenter: Segmenter,
    split: Part,
    cases: tuple[CaseId, ...],
    round: int,
    worst: Worst,
    slices: Overlays,
    areas: AucTable,
) -> Rows:
    rows: Rows = []
    volumes = [bench.volume(case) for case in cases]
    predictions = segmenter.predict([volume.image for volume in volumes])
    for case, volume, probabilities in zip(cases, volumes, predictions, strict=True):
        labels = probabilities.argmax(axis=0).astype(np.uint8)
        reference = bench.oracle.reveal(case, split, round)
        found = evaluate_case(
            labels, reference, volume.spacing, bench.dataset.classes, case, bench.config.surface
        )
        rows += found
        worst.offer(found, volume, reference, labels)
        slices.offer(case, volume.image[0], reference, labels)
        if areas.how.levels:
            areas.update(str(case), probabilities, reference)
    return rows


def _save(
    bench: Workbench, segmenter: Segmenter, stage: str, cases: tuple[CaseId, ...], round: int
) -> None:
    """Label files of the cases that have none in the run folder yet."""
    folder = bench.out / "predictions" / f"round_{round:03d}" / stage
    missing = [case for case in cases if not (folder / result_name(bench.cases[case])).exists()]
    volumes = [bench.volume(case) for case in missing]
    predictions = segmenter.predict([volume.image for volume in volumes])
    for case, volume, probabilities in zip(missing, volumes, predictions, strict=True):
        labels = probabilities.argmax(axis=0).astype(np.uint8)
        file = folder / result_name(bench.cases[case])
        write_labels(file, labels, volume.source, bench.dataset.values)


def _keep(path: Path, rows: Rows, round: int) -> None:
    """Earlier rounds stay, this round is written anew: a killed round leaves no double rows."""
    earlier = [row for row in read_lines(path) if row["round"] < round]
    write_lines(path, earlier + rows)


def _summaries(rows: Rows) -> Rows:
    groups: dict[tuple[str, str], Rows] = {}
    for row in rows:
        groups.setdefault((row["split"], row["stage"]), []).append(row)
    return [
        {"split": split, "stage": stage} | summary
        for (split, stage), group in groups.items()
        for summary in summarise(group)
    ]
