"""Cuts through structures of test patients for the page of a 4-D job."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from loops.itv.bench import PhaseBench
from loops.itv.measure import references
from loops.itv.views import windowed
from salearn.data.nifti import decode
from salearn.motion.itv import internal_target
from salearn.motion.metrics import centroid_track
from salearn.report.motion_figures import Panel

MOST = 4  # patients


def pictures_of(bench: PhaseBench, round: int) -> list[Panel]:
    """A coronal cut for each of the first test patients and each class that keeps its volume."""
    folder = bench.out / "itv" / f"round_{round:03d}"
    found = []
    for patient in bench.test_patients[: bench.config.panels and MOST]:
        labels = _labels(bench, patient, folder / patient)
        for label, name in enumerate(bench.dataset.classes, start=1):
            if bench.config.structures[name].constant_volume:
                found.append(_panel(bench, patient, label, labels, round))
    return found


def _labels(bench: PhaseBench, patient: str, folder: Path) -> np.ndarray:
    """Written labels of all phases as classes 1..K."""
    stack = [
        decode(folder / f"phase_{phase}.nii.gz", patient).array[..., 0]
        for phase in bench.scans.phases
    ]
    values = np.stack(stack)
    labels = np.zeros(values.shape, np.uint8)
    for label, value in enumerate(bench.dataset.values, start=1):
        labels[values == value] = label
    return labels


def _panel(bench: PhaseBench, patient: str, label: int, labels: np.ndarray, round: int) -> Panel:
    name, cases = bench.dataset.classes[label - 1], bench.phases_of(patient)
    volume = bench.volume(cases[0])
    masks = labels == label
    truth = {k: m == label for k, m in references(bench, patient, round).items()}
    complete = len(truth) == len(cases)
    shown = np.stack([truth[k] for k in range(len(cases))]) if complete else masks
    ends = _ends(shown, volume.spacing)
    row = _row(shown if shown.any() else masks)
    images = [
        windowed(np.asarray(bench.volume(cases[k]).image), bench.config.structures[name].window)
        for k in ends
    ]
    return Panel(
        patient=patient,
        structure=name,
        names=(bench.scans.phases[ends[0]], bench.scans.phases[ends[1]]),
        images=np.stack([image[0, :, row] for image in images]),
        found=np.stack([masks[k, :, row] for k in ends]),
        truth=np.stack([truth[k][:, row] for k in ends]) if complete else None,
        occupancy=masks[:, :, row].sum(axis=0),
        phases=len(cases),
        target=internal_target(shown)[:, row] if complete else None,
        spacing=(volume.spacing[0], volume.spacing[2]),
    )


def _ends(masks: np.ndarray, spacing: tuple[float, float, float]) -> tuple[int, int]:
    """The phases with the highest and the lowest centroid."""
    height = centroid_track(masks, spacing)[:, 2]
    if not np.isfinite(height).any():
        return 0, len(masks) // 2
    return int(np.nanargmax(height)), int(np.nanargmin(height))


def _row(masks: np.ndarray) -> int:
    """The coronal plane (index along y) with most of the structure."""
    return int(np.argmax(masks.sum(axis=(0, 1, 3))))
