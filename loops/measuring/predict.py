"""Use what a run has learnt: segment files with its student, or embed a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loops.cell import set_threads
from loops.config import RunConfig, load_run
from loops.progress import Progress
from loops.stitch import Stitcher
from loops.student import load_student
from loops.workbench import Workbench
from salearn.cases import Case, CaseId
from salearn.data.cache import normalise
from salearn.data.source import stem
from salearn.data.volumes import read_volume, result_name, write_labels
from salearn.errors import ConfigError
from salearn.segmenter import Segmenter
from salearn.store import read_json, read_lines


def predict_files(run: Path, images: Sequence[Path], out: Path) -> list[Path]:
    """Label files (on the grid of the input; PNG for pictures) from a run's last student, or
    from adapted SAM3 where the learner is "sam".

    The run folder and its store are enough: the data set need not be there any more.

    Raises:
        ConfigError: the folder holds no finished round.
    """
    config = load_run(run / "config.yaml")
    records = read_lines(run / "rounds.jsonl")
    if not records:
        raise ConfigError(f"{run}: no finished round; run `salearn run` first")
    set_threads(config.threads)
    classes = read_json(run / "split.json")["classes"]
    student = _segmenter(run / "models" / f"round_{records[-1]['round']:03d}", config, classes)
    values = sorted(classes.values())
    cases = [Case(id=CaseId(stem(path)), images=(path,)) for path in images]
    volumes = [read_volume(case) for case in cases]
    normal = [normalise(volume.image, config.data.recipe) for volume in volumes]
    written = []
    for case, volume, p in zip(cases, volumes, student.predict(normal), strict=True):
        file = out / result_name(case)
        write_labels(file, p.argmax(axis=0).astype(np.uint8), volume.source, values)
        written.append(file)
    return written


def _segmenter(folder: Path, config: RunConfig, classes: Mapping[str, int]) -> Segmenter:
    """What a round has trained; SAM3 as it is where nothing was (zero-shot)."""
    if not config.alone:
        return load_student(folder / "student", config.evidence.stage)
    from salearn.models.sam3 import load_sam
    from salearn.models.sam3_segmenter import SamSegmenter

    names = sorted(classes, key=lambda name: classes[name])
    sam = load_sam(config.sam, [config.data.prompts.get(name, name) for name in names])
    adapter = folder / "adapter" if (folder / "adapter").exists() else None
    return SamSegmenter.load(sam, adapter, Stitcher(config.stitch, config.data.axis))


def embed_cases(config: RunConfig) -> dict[str, Any]:
    """Embed every case with the frozen encoder; what is in the store is not embedded again."""
    set_threads(config.threads)
    bench = Workbench(config, Progress())
    embedder = bench.embedder()
    slices = dim = 0
    with bench.progress.stage("embed") as report:
        for done, case in enumerate(bench.dataset.cases):
            rows = embedder.slices(bench.key(case.id), bench.volume(case.id).image)
            slices, dim = slices + len(rows), rows.shape[1]
            report(done + 1, len(bench.dataset.cases), {})
    return {
        "cases": len(bench.dataset.cases),
        "slices": slices,
        "dim": dim,
        "store": str(bench.store.root),
    }
