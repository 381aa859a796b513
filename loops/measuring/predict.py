"""Use what a run has learnt: segment files with its student, or embed a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from loops.cell import set_threads
from loops.config import RunConfig, load_run
from loops.progress import Progress
from loops.student import load_student
from loops.workbench import Workbench
from salearn.cases import Case, CaseId
from salearn.data.cache import normalise
from salearn.data.source import stem
from salearn.data.volumes import read_volume, result_name, write_labels
from salearn.errors import ConfigError
from salearn.store import read_json, read_lines


def predict_files(run: Path, images: Sequence[Path], out: Path) -> list[Path]:
    """Label files (on the grid of the input; PNG for pictures) from a run's last student.

    The run folder and its store are enough: the data set need not be there any more.

    Raises:
        ConfigError: the folder holds no finished round.
    """
    config = load_run(run / "config.yaml")
    records = read_lines(run / "rounds.jsonl")
    if not records:
        raise ConfigError(f"{run}: no finished round; run `salearn run` first")
    set_threads(config.threads)
    folder = run / "models" / f"round_{records[-1]['round']:03d}" / "student"
    student = load_student(folder, config.evidence.stage)
    values = sorted(read_json(run / "split.json")["classes"].values())
    cases = [Case(id=CaseId(stem(path)), images=(path,)) for path in images]
    volumes = [read_volume(case) for case in cases]
    normal = [normalise(volume.image, config.data.recipe) for volume in volumes]
    written = []
    for case, volume, p in zip(cases, volumes, student.predict(normal), strict=True):
        file = out / result_name(case)
        write_labels(file, p.argmax(axis=0).astype(np.uint8), volume.source, values)
        written.append(file)
    return written


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
