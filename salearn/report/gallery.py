"""Pictures that runs left behind: chosen units round by round, and the worst test cases."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from salearn.report.blocks import Block, Gallery, Picture, Text, png_uri
from salearn.report.parts import HEADLINE, arm_of
from salearn.report.runs import Run
from salearn.report.tables import ordered

MOST = 300  # pictures of one section: a page that a phone can open
NONE = (
    "No pictures: these runs were made without them (panels=0, or an earlier version); the units "
    "chosen in each round are in rounds.jsonl of each run."
)


def first_runs(runs: Sequence[Run]) -> list[Run]:
    """One run of each arm, that of the lowest seeds, baselines first."""
    found: dict[str, Run] = {}
    for run in sorted(runs, key=lambda r: (r.factors["draw_seed"], r.factors["train_seed"])):
        found.setdefault(arm_of(run.factors), run)
    return [found[name] for name in ordered(found)]


def selection_blocks(runs: Sequence[Run]) -> list[Block]:
    """Chosen units of each round with a slice through the middle of the mask."""
    blocks: list[Block] = []
    left = MOST
    groups = alike(first_runs(runs))
    each = max(1, MOST // max(len(groups), 1))  # so that the last arm is shown like the first
    for group in groups:
        pictures = list(_chosen(group[0]))[: min(each, left)]
        left -= len(pictures)
        if pictures:
            title = f"{', '.join(arm_of(run.factors) for run in group)} ({_seeds(group[0])})"
            blocks.append(Gallery(title=title, pictures=pictures))
    return _or_none(blocks, left, "Each picture: the slice through the middle of the annotated "
                    "structure, its classes outlined.")  # fmt: skip


def alike(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that chose the same units in the same rounds stand together."""
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        chosen = tuple(tuple(record.get("selected", ())) for record in run.rounds)
        groups.setdefault((run.factors["dataset"], chosen), []).append(run)
    return list(groups.values())


def _chosen(run: Run) -> Iterator[Picture]:
    for record in run.rounds:
        folder = _folder(run, record)
        for unit in record.get("selected", ()):
            path = folder / f"selected_{unit}.png"
            if path.is_file():
                words = f"round {record['round']}: {unit}"
                yield Picture(data=png_uri(path.read_bytes()), alt=words, caption=words)


def worst_blocks(runs: Sequence[Run]) -> list[Block]:
    """Worst test cases of the last round: image, mask, prediction in three planes."""
    blocks: list[Block] = []
    left = MOST
    for run in first_runs(runs):
        pictures = _worst(run)[:left]
        left -= len(pictures)
        if pictures:
            labeled = run.rounds[-1]["num_labeled"]
            title = f"{arm_of(run.factors)} ({_seeds(run)}), {labeled} annotated"
            blocks.append(Gallery(title=title, pictures=pictures, size="panel"))
    return _or_none(blocks, left, "Rows: image; mask; prediction of the student. Columns: "
                    "sagittal, coronal, axial through the mask's center of mass. Chosen as the "
                    "lowest mean Dice, so they are not typical.")  # fmt: skip


def _worst(run: Run) -> list[Picture]:
    if not run.rounds:
        return []
    dice = _dice(run, int(run.rounds[-1]["round"]))
    found = []
    for path in _folder(run, run.rounds[-1]).glob("worst_*.png"):
        case = path.stem.removeprefix("worst_")
        found.append((dice.get(case, math.nan), case, path))
    found.sort(key=lambda row: row[:2])
    return [
        Picture(
            data=png_uri(path.read_bytes()),
            alt=f"{case}: image, mask and prediction in three planes",
            caption=f"{case}, Dice {score:.3f}",
        )
        for score, case, path in found
    ]


def _dice(run: Run, round: int) -> dict[str, float]:
    """Mean Dice over the defined classes of each test case."""
    table = run.cases.select(["round", "split", "stage", "case", "dice"]).to_pylist()
    scores: dict[str, list[float]] = {}
    for row in table:
        here = (row["round"], row["split"], row["stage"]) == (round, "test", HEADLINE)
        if here and row["dice"] is not None and not math.isnan(row["dice"]):
            scores.setdefault(row["case"], []).append(row["dice"])
    return {case: sum(values) / len(values) for case, values in scores.items()}


def _folder(run: Run, record: Mapping[str, Any]) -> Path:
    return run.path / "panels" / f"round_{record['round']:03d}"


def _seeds(run: Run) -> str:
    return f"draw seed {run.factors['draw_seed']}, train seed {run.factors['train_seed']}"


def _or_none(blocks: list[Block], left: int, words: str) -> list[Block]:
    if not blocks:
        return [Text(paragraphs=(NONE,))]
    more = (f"At most {MOST} pictures are shown, as many of each arm.",) if left <= 0 else ()
    return [Text(paragraphs=(f"The run of the lowest seeds of each arm. {words}", *more)), *blocks]
