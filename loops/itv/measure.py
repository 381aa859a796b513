"""Predict the phases of test patients, filter them, build ITVs, and score both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from loops.itv.bench import PhaseBench
from loops.itv.config import Arm
from loops.pseudo import read_pseudo_labels, write_pseudo_labels
from salearn.cases import IGNORE, CaseId
from salearn.metrics.overlap import ratio
from salearn.motion.filters import FilterName, apply_filter
from salearn.motion.itv import internal_target
from salearn.motion.metrics import centroid_track, describe_motion, margins
from salearn.motion.score import score_itv, volumes
from salearn.segmenter import Segmenter
from salearn.settings import dump
from salearn.store import array_hash, content_key, read_json, read_lines, write_json, write_lines

MEASURE_VERSION = 1
ROWS, TRACKS = "rows.jsonl", "tracks.json"
Rows = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Model:
    """A trained segmenter of one arm.

    Attributes:
        key: of what it was trained to. budget: annotated phases, or "all".
    """

    segmenter: Segmenter
    key: str
    arm: Arm
    round: int
    budget: int | str


class Predictions:
    """Probabilities of phases on disk, made once."""

    def __init__(self, bench: PhaseBench, model: Model, cases: Sequence[CaseId]) -> None:
        self.bench = bench
        self.keys = {
            case: content_key("phase", MEASURE_VERSION, model.key, bench.key(case))
            for case in cases
        }
        missing = [case for case in cases if not bench.store.has("pseudo", self.keys[case])]
        if missing:
            with (
                bench.progress.stage(f"round {model.round} phases ({model.arm})") as report,
                bench.timed("phases", model.round),
            ):
                items = ((case, bench.volume(case).image) for case in missing)
                write_pseudo_labels(
                    model.segmenter, items, bench.store, self.keys, bench.config.pseudo, report
                )

    def of(self, patient: str, label: int) -> Float[np.ndarray, "phase x y z"]:
        """One structure in all phases of a patient."""
        found = []
        for case in self.bench.phases_of(patient):
            folder = self.bench.store.path("pseudo", self.keys[case])
            labels = read_pseudo_labels(case, folder, self.bench.config.pseudo)
            found.append(np.asarray(labels.load()[label], dtype=np.float32))
        return np.stack(found)

    def believed(
        self, patient: str, label: int, name: FilterName
    ) -> Bool[np.ndarray, "phase x y z"]:
        """The same after a filter."""
        bench = self.bench
        structure = bench.config.structures[bench.dataset.classes[label - 1]]
        spacing = bench.volume(bench.phases_of(patient)[0]).spacing
        how = bench.config.filter_of(name)
        p = self.of(patient, label)
        return apply_filter(p, spacing, how, bench.scans.cyclic, structure.rule)


def references(bench: PhaseBench, patient: str, round: int) -> dict[int, np.ndarray]:
    """Reference masks of a test patient by phase index, as far as there are any."""
    return {
        k: bench.oracle.reveal(case, "test", round)
        for k, case in enumerate(bench.phases_of(patient))
        if case in bench.dataset.masks
    }


def measure_model(bench: PhaseBench, model: Model) -> tuple[Rows, dict[str, Any]]:
    """Rows of every test patient, class and filter; centroid tracks under the last filter."""
    config, patients = bench.config, bench.test_patients
    cases = [case for patient in patients for case in bench.phases_of(patient)]
    made = Predictions(bench, model, cases)
    truth = {patient: references(bench, patient, model.round) for patient in patients}
    against = [
        (patient, k, array_hash(mask)) for patient in patients for k, mask in truth[patient].items()
    ]
    how = [config.filters, dump(config.filter), config.votes, bench.reference_phase]
    how += [bench.scans.kind, dump(config.surface), {k: dump(v) for k, v in _structures(bench)}]
    key = content_key("itv-scores", MEASURE_VERSION, sorted(made.keys.items()), against, how)

    def make(work: Path) -> None:
        with bench.timed("itv", model.round):
            rows, tracks = _scored(bench, made, truth)
        write_json(work / TRACKS, tracks)
        write_lines(work / ROWS, rows)

    folder = bench.store.get("itv-scores", key, make)
    told = {"round": model.round, "num_labeled": model.budget, "mining": model.arm}
    rows = [told | row for row in read_lines(folder / ROWS)]
    return rows, {**told, "patients": read_json(folder / TRACKS)}


def _structures(bench: PhaseBench) -> list[tuple[str, Any]]:
    return sorted(bench.config.structures.items())


def _scored(
    bench: PhaseBench, made: Predictions, truth: dict[str, dict[int, np.ndarray]]
) -> tuple[Rows, dict[str, Any]]:
    rows: Rows = []
    tracks: dict[str, Any] = {}
    for patient in bench.test_patients:
        for label, name in enumerate(bench.dataset.classes, start=1):
            for chosen in bench.config.filters:
                masks = made.believed(patient, label, chosen)
                row = _score_one(bench, patient, label, masks, truth[patient])
                rows.append({"patient": patient, "class": name, "filter": chosen, **row})
            tracks.setdefault(patient, {})[name] = _tracks(bench, patient, label, masks, truth)
    return rows, tracks


def _score_one(
    bench: PhaseBench,
    patient: str,
    label: int,
    masks: np.ndarray,
    truth: dict[int, np.ndarray],
) -> dict[str, Any]:
    """Everything of one structure; without contours on all phases there is no reference ITV."""
    config, cyclic = bench.config, bench.scans.cyclic
    structure = config.structures[bench.dataset.classes[label - 1]]
    spacing = bench.volume(bench.phases_of(patient)[0]).spacing
    complete = len(truth) == len(masks) and not any((m == IGNORE).any() for m in truth.values())
    found: dict[str, Any] = {
        "phase_dice": _phase_dice(masks, label, truth),
        "reference_phases": [bench.scans.phases[k] for k in sorted(truth)],
        "reference_kind": config.data.reference_kind,
        "status": "ok" if complete else "no reference ITV",
    }
    phase = bench.reference_phase
    if not complete:
        target = internal_target(masks, config.votes)
        found |= describe_motion(masks, spacing, cyclic) | margins(target, masks[phase], spacing)
        found |= volumes(masks, target, spacing, phase)
    else:
        reference = np.stack([truth[k] == label for k in range(len(masks))])
        how = replace(config.surface, tolerance_mm=structure.tolerance_mm)
        found |= score_itv(masks, reference, spacing, cyclic, phase, config.votes, how)
    if not structure.constant_volume:
        found |= dict.fromkeys([key for key in found if key.endswith("volume_cv")], float("nan"))
    return found


def _phase_dice(masks: np.ndarray, label: int, truth: dict[int, np.ndarray]) -> float:
    """Mean Dice over the phases that have a reference and either mask is not empty."""
    scores = []
    for k, mask in truth.items():
        inside, known = mask == label, mask != IGNORE
        both = int(np.count_nonzero(masks[k] & inside))
        size = int(np.count_nonzero(masks[k] & known) + np.count_nonzero(inside))
        scores.append(ratio(2 * both, size))
    return float(np.nanmean(scores)) if np.isfinite(scores).any() else float("nan")


def _tracks(
    bench: PhaseBench,
    patient: str,
    label: int,
    masks: np.ndarray,
    truth: dict[str, dict[int, np.ndarray]],
) -> dict[str, Any]:
    """Centroids in mm, phase by phase: predicted, and reference where there is one."""
    spacing = bench.volume(bench.phases_of(patient)[0]).spacing
    reference = np.zeros_like(masks)
    for k, mask in truth[patient].items():
        reference[k] = mask == label
    pair = {"predicted": masks, "reference": reference}
    return {name: centroid_track(m, spacing).round(4).tolist() for name, m in pair.items()}


def summarise(rows: Rows, names: Sequence[str]) -> Rows:
    """Means over patients for each budget, arm, filter and class; NaN are left out and counted."""
    keys = ("round", "num_labeled", "mining", "filter", "class")
    groups: dict[tuple[Any, ...], Rows] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    return [
        dict(zip(keys, group, strict=True)) | {"patients": len(part)} | dict(_means(part, names))
        for group, part in groups.items()
    ]


def _means(part: Rows, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    for name in names:
        values = [row[name] for row in part if row.get(name) is not None]
        finite = np.array([v for v in values if np.isfinite(v)], dtype=float)
        yield name, float(finite.mean()) if len(finite) else float("nan")


def with_retention(summary: Rows) -> Rows:
    """Adds `retention`: ITV Dice as a share of that with all labels (same arm, filter, class)."""
    full = {
        (row["mining"], row["filter"], row["class"]): row["dice"]
        for row in summary
        if row["num_labeled"] == "all"
    }
    return [
        row | {"retention": row["dice"] / whole}
        if (whole := full.get((row["mining"], row["filter"], row["class"])))
        else row
        for row in summary
    ]
