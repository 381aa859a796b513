"""Ask SAM3 as a person would, on test slices, and write how good the answers are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loops.cell import claimed, set_threads
from loops.interactive.config import InteractiveConfig
from loops.interactive.labeling import label_by_clicks
from loops.interactive.modes import outcomes, rows_of_case, scenes
from loops.interactive.objects import slices_of, targets_of
from loops.interactive.pair import Pair
from loops.interactive.table import as_csv, clicks_needed, summarise
from loops.interactive.texts import Rows, chosen_texts, judge_texts, summarise_texts
from loops.interactive.unlabeled import prompt_unlabeled
from loops.progress import Progress
from loops.stitch import Stitcher
from loops.workbench import Workbench
from salearn.cases import CaseId
from salearn.errors import ConfigError
from salearn.models.interactive.tracker_weights import tracker_key
from salearn.models.sam3 import sam_key
from salearn.prompts.door import Reference
from salearn.prompts.scores import ClickCurve
from salearn.prompts.text import class_texts
from salearn.settings import dump
from salearn.store import (
    content_key,
    file_hash,
    finite,
    read_json,
    write_json,
    write_lines,
    write_text,
)

FOLDER = "interactive"
IDENTITY, RESULT, TABLE, CASES, TEXTS = (
    "evaluation.json",
    "result.json",
    "table.csv",
    "cases.jsonl",
    "texts.jsonl",
)


def run_interactive(config: InteractiveConfig, progress: Progress | None = None) -> dict[str, Any]:
    """Text, boxes, points and clicks on the test cases; what is asked of the pool besides.

    Everything lies in `out`/interactive: the table (JSON, CSV), rows of cases, and the query log
    of its own masks.

    Returns:
        {"models", "texts", "table", "clicks_needed", "unlabeled", "labels", "out"}.

    Raises:
        ConfigError: a prompt for a class that is not there, no test cases, or `out` holds an
            evaluation of other settings or weights.
    """
    given, progress = config.interactive, progress or Progress()
    set_threads(config.threads)
    out = Path(config.out) / FOLDER
    bench = Workbench(replace(config, out=str(out), store=str(config.store_path)), progress)
    with claimed(out):
        _same_evaluation(config, out)
        texts = class_texts(given.text, bench.dataset.classes, config.data.prompts)
        cases = bench.split.test[: given.cases]
        if not cases:
            raise ConfigError("data.split.test: there is no test case to ask about")
        judged, chosen = _texts(bench, config, texts, cases)
        pair = Pair.load(config, chosen)
        rows, curves = _prompted(bench, config, pair, cases)
        result: dict[str, Any] = {
            "models": pair.describe(),
            "texts": summarise_texts(judged, texts),
            "chosen": {name: list(options) for name, options in chosen.items()},
            "table": summarise(rows, bench.dataset.classes),
            "clicks_needed": clicks_needed(curves, given),
            "unlabeled": prompt_unlabeled(bench, config, pair) if given.unlabeled else [],
            "labels": label_by_clicks(bench, config, pair) if given.labels else [],
            "out": str(out),
        }
        write_lines(out / CASES, rows)
        write_lines(out / TEXTS, judged)
        write_text(out / TABLE, as_csv(result["table"]))
        write_json(out / RESULT, finite(result))
    return result


def _same_evaluation(config: InteractiveConfig, out: Path) -> None:
    """Write down what the folder holds, or refuse one that holds something else."""
    adapter = config.interactive.adapter
    files = sorted(Path(adapter).glob("*")) if adapter else []
    hashes = [file_hash(file) for file in files if file.is_file()]
    tracker = tracker_key(config.interactive.tracker)
    key = content_key(config.key, sam_key(config.sam), tracker, hashes)
    if (out / IDENTITY).exists() and read_json(out / IDENTITY)["key"] != key:
        raise ConfigError(
            f"{out} holds an evaluation of other settings, weights or adapter: name another folder "
            "with out=..., or delete it"
        )
    write_json(out / IDENTITY, {"key": key, "config": dump(config)})


def _texts(
    bench: Workbench,
    config: InteractiveConfig,
    texts: Mapping[str, tuple[str, ...]],
    cases: Sequence[CaseId],
) -> tuple[Rows, dict[str, tuple[str, ...]]]:
    """Rows of every text on the test cases, and what the automated mode asks by."""
    given = config.interactive
    sam = Pair.detector(config, [text for options in texts.values() for text in options])
    stitcher = Stitcher(config.stitch, config.data.axis)
    validation: Rows = []
    if given.text.choice == "validation":
        if not bench.split.validation:
            raise ConfigError(
                "interactive.text.choice: validation, but data.split.validation is 0: keep cases "
                "for it, or choose 'first' or 'mean'"
            )
        held = bench.split.validation
        validation = judge_texts(bench, sam, stitcher, texts, held, "validation")
    with bench.progress.stage("texts") as report:
        judged: Rows = []
        for done, case in enumerate(cases, start=1):
            judged += judge_texts(bench, sam, stitcher, texts, [case], "test")
            report(done, len(cases), {})
    return judged, chosen_texts(given.text, texts, validation)


def _prompted(
    bench: Workbench, config: InteractiveConfig, pair: Pair, cases: Sequence[CaseId]
) -> tuple[Rows, dict[str, list[ClickCurve]]]:
    """Rows of every mode on every case, and all curves of clicks by class."""
    given, axis, classes = config.interactive, config.data.axis, bench.dataset.classes
    rows: Rows = []
    curves: dict[str, list[ClickCurve]] = {name: [] for name in classes}
    with bench.progress.stage("prompts") as report:
        for number, case in enumerate(cases):
            reference = Reference.revealed(bench.oracle, case, "test")
            targets = targets_of(reference, len(classes), axis, given.slices)
            indices = sorted({target.index for target in targets})
            images = slices_of(bench.volume(case).image, axis, indices)
            views = dict(zip(indices, pair.see(images), strict=True))
            found = []
            for scene in scenes(reference, targets, axis, views, (given.seed, number)):
                asked = list(outcomes(scene, given))
                found += asked
                dialogue = [o.curve for o in asked if o.curve is not None][:1]
                curves[classes[scene.target.label - 1]] += dialogue
            rows += rows_of_case(found, case, classes)
            report(number + 1, len(cases), {})
    return rows, curves
