"""Label files of a 4-D job: phases, ITVs and occupancy, on the grid and affine of the input."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loops.itv.bench import PhaseBench
from loops.itv.measure import Model, Predictions
from salearn.data.nifti import encode
from salearn.data.volumes import write_labels
from salearn.motion.itv import internal_target, occupancy
from salearn.store import write_json

DONE = "files.json"


def write_targets(bench: PhaseBench, model: Model, out: Path) -> list[Path]:
    """Write, for each test patient, filtered labels of every phase, and per class ITV and counts.

    ITVs of different classes overlap (a tumour moves through the lung), so each has its own file:
    itv_<class>.nii.gz (0/1) and occupancy_<class>.nii.gz (number of phases).
    """
    written: list[Path] = []
    for patient in bench.test_patients:
        folder = out / patient
        cases = bench.phases_of(patient)
        made = Predictions(bench, model, cases)
        if _known(folder) != made.keys:
            _write_patient(bench, made, patient, folder)
            write_json(folder / DONE, made.keys)  # last: with it all is there
        written += sorted(folder.glob("*.nii.gz"))
    return written


def _known(folder: Path) -> object:
    from salearn.store import read_json

    return read_json(folder / DONE) if (folder / DONE).exists() else None


def _write_patient(bench: PhaseBench, made: Predictions, patient: str, folder: Path) -> None:
    cases, last = bench.phases_of(patient), bench.config.filters[-1]
    sources = [bench.volume(case).source for case in cases]
    labels = np.zeros((len(cases), *bench.volume(cases[0]).image.shape[1:]), np.uint8)
    best = np.zeros(labels.shape, np.float32)
    for label, name in enumerate(bench.dataset.classes, start=1):
        masks, p = made.believed(patient, label, last), made.of(patient, label)
        wins = masks & (p >= best)
        labels[wins] = label
        best = np.where(wins, p, best)
        target = internal_target(masks, bench.config.votes).astype(np.uint8)
        write_labels(folder / f"itv_{name}.nii.gz", target, sources[0], [1])
        counts = occupancy(masks).astype(np.uint8)
        encode(folder / f"occupancy_{name}.nii.gz", counts, sources[0])
    for phase, mask, source in zip(bench.scans.phases, labels, sources, strict=True):
        write_labels(folder / f"phase_{phase}.nii.gz", mask, source, bench.dataset.values)
