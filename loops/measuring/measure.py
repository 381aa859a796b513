"""Predict the validation and test cases with every stage, and score them case by case."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from loops.adaptation.points import point_rows
from loops.measuring.overlays import place_overlays
from loops.measuring.panels import place_panels
from loops.measuring.watch import Watch
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.data.volumes import result_name, write_labels
from salearn.metrics.evaluate import evaluate_case, summarise
from salearn.segmenter import Segmenter
from salearn.settings import dump
from salearn.store import array_hash, content_key, read_lines, write_lines

MEASURE_VERSION = 1
Rows = list[dict[str, Any]]
Part = Literal["validation", "test"]
PARTS: tuple[Part, ...] = ("validation", "test")
PICTURED = "test"  # the split whose worst cases the report shows
EXTERNAL = "external"  # the split of another place, and what its cases are called after


def measure(
    bench: Workbench,
    segmenters: Mapping[str, tuple[Segmenter, str]],
    round: int,
    external: Workbench | None = None,
) -> dict[str, Any]:
    """Scores of every stage on every split; per-case rows go to cases.jsonl of the run.

    With `auc.levels` the record gets "auc" too, and auc_cases.jsonl the presence scores; of SAM3
    alone with `adaptation.operating` it gets "points".

    Args:
        segmenters: stage -> the segmenter and the key of what it was trained to.
        external: a test set of another place; its cases are "external:" and their id.
    """
    kinds = ["rows", *(["auc_rows", "auc_cases"] if bench.config.auc.levels else [])]
    kinds += ["points"] if bench.config.operating else []
    rows: dict[str, Rows] = {kind: [] for kind in kinds}
    places = [(bench, split, str(split)) for split in PARTS]
    places += [(external, "test", EXTERNAL)] if external else []
    for stage, (segmenter, key) in segmenters.items():
        for at, split, name in places:
            entry = scored(at, segmenter, key, stage, split, round)
            for kind in kinds:
                rows[kind] += _labelled(entry, kind, stage, name, round)
    _keep(bench.out / "cases.jsonl", rows["rows"], round)
    found: dict[str, Any] = {"metrics": _summaries(rows["rows"])}
    if bench.config.auc.levels:
        _keep(bench.out / "auc_cases.jsonl", rows["auc_cases"], round)
        found["auc"] = [{k: v for k, v in row.items() if k != "round"} for row in rows["auc_rows"]]
    if bench.config.operating:
        found["points"] = point_rows(_by_place(rows["points"]))
    return found


def _labelled(entry: Path | None, kind: str, stage: str, split: str, round: int) -> Rows:
    """Rows of a store entry with the place they belong to."""
    rows: Rows = [] if entry is None else read_lines(entry / f"{kind}.jsonl")
    named = [{"round": round, "split": split, "stage": stage} | row for row in rows]
    if split == EXTERNAL:  # another place may use the same ids
        named = [r | {"case": f"{EXTERNAL}:{r['case']}"} if "case" in r else r for r in named]
    return named


def _by_place(rows: Rows) -> dict[tuple[str, str], Rows]:
    found: dict[tuple[str, str], Rows] = {}
    for row in rows:
        found.setdefault((row["split"], row["stage"]), []).append(row)
    return found


def scored(
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
    how += ["points"] if bench.config.operating else []
    # An external set has no pool, and no pictures of it are shown.
    pictured = (stage, split) == (bench.config.headline, PICTURED) and bool(bench.split.pool)
    name = content_key("scores", MEASURE_VERSION, stage, key, against, how)

    def make(work: Path) -> None:
        with bench.progress.stage(f"round {round} measure {stage}"), bench.timed("measure", round):
            watch = Watch.of(bench, pictured)
            rows = _score(bench, segmenter, split, cases, round, watch)
            write_lines(work / "rows.jsonl", rows)
            watch.write(work, lambda text: bench.progress.say(f"round {round}: {text}"))

    entry = bench.store.get("scores", name, make)
    if bench.config.save_predictions:
        _save(bench, segmenter, stage, cases, round)
    if pictured:
        place_panels(bench, entry, round)
        place_overlays(bench, entry, round)
    return entry


def _score(
    bench: Workbench,
    segmenter: Segmenter,
    split: Part,
    cases: tuple[CaseId, ...],
    round: int,
    watch: Watch,
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
        watch.look(case, volume, reference, probabilities, found)
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
