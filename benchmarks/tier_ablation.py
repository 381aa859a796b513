"""What each tier of hard negative mining does, on breathing phantoms.

    python -m benchmarks.tier_ablation [--seeds 0 1] [--arms none 1 1+2 1+2+3 1+2+3+4 3 4]
        [--page docs/hard_negatives.md]

One annotated phase of each patient of the pool of configs/hard_negatives.yaml trains an adapter per
window and arm; every fourth phase of the test patients is predicted and scored without any filter.
All arms of a seed see the same masks. Rows go to a file of JSON lines; rows that are there are not
made again, and trainings are kept in --work, so that a run that was cut goes on. --page writes the
table of all rows behind the mark of a page.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from loops.itv.bench import PhaseBench
from loops.itv.config import ItvConfig, load_itv
from loops.itv.train import Masks, PhaseTrainer
from loops.itv.views import windowed
from loops.progress import Progress
from salearn.cases import CaseId
from salearn.hard_negatives_boundary import contrast_of
from salearn.hard_negatives_report import (
    banded_dice,
    contrast_bands,
    false_positive_ml,
    slice_presence,
    tertiles,
)
from salearn.metrics.auc import auc
from salearn.store import append_line, read_lines, write_text

TIERS = {"1": "prompt", "2": "slice", "3": "pixel", "4": "boundary"}
ARMS = ("none", "1", "1+2", "1+2+3", "1+2+3+4", "3", "4")
BANDS = ("low", "middle", "high")
EVERY = 4  # test phases
THRESHOLD = 0.5
MARK = "<!-- table -->\n"


def configured(path: Path, arm: str, seed: int, work: Path, changes: list[str]) -> ItvConfig:
    """The job of one arm; guards are on wherever something is mined."""
    tiers = [] if arm == "none" else arm.split("+")
    given = [f"negatives.{name}={str(t in tiers).lower()}" for t, name in TIERS.items()]
    given += [f"negatives.guards={str(bool(tiers)).lower()}", f"train_seed={seed}"]
    return load_itv(path, [*changes, *given, f"out={work / arm}_{seed}", f"store={work / 'store'}"])


@dataclass
class Scan:
    """A test phase with what its reference says of it."""

    image: np.ndarray
    mask: np.ndarray
    spacing: tuple[float, float, float]
    bands: dict[int, np.ndarray]


class Task:
    """Masks to learn from and scans to be scored on; the same for all arms."""

    def __init__(self, bench: PhaseBench) -> None:
        self.bench = bench
        bench.out.mkdir(parents=True, exist_ok=True)
        self.classes = bench.dataset.classes

    def masks(self, seed: int) -> Masks:
        """One phase of each patient of the pool."""
        rng, found = np.random.default_rng(seed), {}
        for patient in sorted({self.bench.patients[case] for case in self.bench.split.pool}):
            case = self.bench.phases_of(patient)[int(rng.integers(len(self.bench.scans.phases)))]
            found[case] = self.bench.oracle.reveal(case, "audit", 0)
        return found

    @cached_property
    def scans(self) -> list[Scan]:
        cases = [c for p in self.bench.test_patients for c in self.bench.phases_of(p)[::EVERY]]
        scans = [self._scan(case) for case in cases]
        for label, name in enumerate(self.classes, start=1):
            shown = [self._shown(scan, name) for scan in scans]
            measured = [
                contrast_of(image, scan.mask, label, scan.spacing)[1]
                for image, scan in zip(shown, scans, strict=True)
            ]
            edges = tertiles(measured)
            for image, scan in zip(shown, scans, strict=True):
                scan.bands[label] = contrast_bands(image, scan.mask, label, scan.spacing, edges)
        return scans

    def _scan(self, case: CaseId) -> Scan:
        volume = self.bench.volume(case)
        mask = self.bench.oracle.reveal(case, "test", 0)
        return Scan(np.asarray(volume.image), mask, volume.spacing, {})

    def _shown(self, scan: Scan, name: str) -> np.ndarray:
        return windowed(scan.image, self.bench.config.structures[name].window)[0]


def scores(segmenter: Any, task: Task) -> dict[str, Any]:
    """Per class, means over scans: Dice, false positives, AUROC of slices, Dice by tertile."""
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in task.classes}
    slices: dict[str, list[Any]] = {name: [] for name in task.classes}
    axis = task.bench.config.data.axis
    for scan, p in zip(task.scans, segmenter.predict([s.image for s in task.scans]), strict=True):
        for label, name in enumerate(task.classes, start=1):
            found, inside = p[label] > THRESHOLD, scan.mask == label
            size = int(found.sum()) + int(inside.sum())
            row = {"dice": 2 * int((found & inside).sum()) / size if size else math.nan}
            row["fp_ml"] = false_positive_ml(found, scan.mask, label, scan.spacing)
            row["recall"] = float(found[inside].mean()) if inside.any() else math.nan
            banded = banded_dice(found, scan.mask, label, scan.bands[label])
            row |= {f"dice_{band}": value for band, value in zip(BANDS, banded, strict=True)}
            rows[name].append(row)
            slices[name].append(slice_presence(p[label], scan.mask, label, axis))
    made = {}
    for name in task.classes:
        mean = {key: float(np.nanmean([r[key] for r in rows[name]])) for key in rows[name][0]}
        score, truth = (np.concatenate(part) for part in zip(*slices[name], strict=True))
        made[name] = {k: round(v, 4) for k, v in (mean | {"auroc": auc(score, truth)}).items()}
    return made


def table(rows: list[dict[str, Any]], classes: list[str]) -> str:
    """Mean over seeds, one line for each class and arm."""
    columns = ("dice", "recall", "fp_ml", "auroc", "dice_low", "dice_middle", "dice_high")
    lines = [
        "| class | tiers | seeds | Dice | recall | FP, ml a scan | AUROC of slices "
        "| Dice, low contrast | middle | high |",
        "|---" * 10 + "|",
    ]
    for name in classes:
        for arm in ARMS:
            same = [row["classes"][name] for row in rows if row["arm"] == arm]
            if same:
                values = [float(np.mean([row[column] for row in same])) for column in columns]
                places = [1 if column == "fp_ml" else 3 for column in columns]
                shown = [f"{v:.{n}f}" for v, n in zip(values, places, strict=True)]
                lines.append(f"| {name} | {arm} | {len(same)} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def one(given: argparse.Namespace, arm: str, seed: int, scans: dict[str, Any]) -> dict[str, Any]:
    """Train, predict and score one arm."""
    config = configured(given.config, arm, seed, given.work, given.changes)
    bench = PhaseBench(config, Progress(enabled=False))
    task = Task(bench)
    if "scans" in scans:
        task.scans = scans["scans"]  # measured once, references are the same for all arms
    scans["scans"] = task.scans
    masks = task.masks(seed)
    start = time.process_time()
    segmenter, _ = PhaseTrainer(bench).trained(masks, "off" if arm == "none" else "hard", 0)
    spent = time.process_time() - start
    review = len(read_lines(bench.out / "review.jsonl"))
    row = {"arm": arm, "seed": seed, "iterations": config.finetune.iterations, "review": review}
    return row | {"classes": scores(segmenter, task), "train_cpu_s": round(spent, 1)}


def main() -> None:
    import torch

    torch.set_num_threads(1)
    given = _parsed()
    kept: dict[str, Any] = {}
    for seed in given.seeds:
        for arm in given.arms:
            done = read_lines(given.out)
            if any((row["arm"], row["seed"]) == (arm, seed) for row in done):
                continue
            row = one(given, arm, seed, kept)
            append_line(given.out, row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    rows = read_lines(given.out)
    shown = table(rows, list(rows[0]["classes"])) + "\n\n" + told(rows) + "\n"
    print(shown)
    if given.page:
        before = given.page.read_text().partition(MARK)[0]
        write_text(given.page, before + MARK + shown)


def told(rows: list[dict[str, Any]]) -> str:
    """What the table stands on."""
    seeds, steps = (sorted({row[name] for row in rows}) for name in ("seed", "iterations"))
    mined = sorted((row["arm"], row["seed"], row["review"]) for row in rows if row["arm"] != "none")
    found = {arm: [str(count) for of, _, count in mined if of == arm] for arm, _, _ in mined}
    queue = "; ".join(f"{arm}: {', '.join(counts)}" for arm, counts in found.items())
    return (
        f"Draw and training seeds {seeds}, {steps} steps, "
        f"{sum(row['train_cpu_s'] for row in rows):.0f} CPU-s of training in all. "
        f"Components in the review queue: {queue or 'none'}."
    )


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", type=Path, default=Path("configs/hard_negatives.yaml"))
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS[:5]))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("tier_ablation.jsonl"))
    parser.add_argument("--work", type=Path, default=Path("runs/tier_ablation"))
    parser.add_argument("--page", type=Path, default=None, help="page to write the table into")
    parser.add_argument("--set", nargs="+", default=[], dest="changes", metavar="key=value")
    return parser.parse_args()


if __name__ == "__main__":
    main()
