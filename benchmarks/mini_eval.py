"""What salearn-mini can do on real MR that it has never seen (MSD Task04 Hippocampus).

    python -m benchmarks.mini_eval --data .../Task04_Hippocampus [--weights mini] [--part pool]

Arms: zero_shot (text prompts, no mask), mini (adapter on mosaics), random (the same with random
weights of the same size), sliced and random_sliced (adapter on single slices, as many tokens a
step), vnet (the width-8 V-Net alone). All arms of one draw see the same masks; test cases are the
40 of configs/hippocampus.yaml. Rows go to a file of JSON lines; rows that are there are not made
again. Scores are mean Dice of both parts over the cases.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from loops.finetune import FinetuneSettings, finetune
from loops.stitch import Stitcher, StitchSettings
from salearn.data.cache import Recipe, normalise
from salearn.data.formats import Dataset, DataSource, read_dataset
from salearn.data.patches import Example
from salearn.data.splits import SplitSettings, make_split
from salearn.data.volumes import read_mask, read_volume
from salearn.metrics.overlap import class_counts, confusion
from salearn.models.lora import LoraSettings
from salearn.models.sam3 import Sam, SamSettings, load_sam
from salearn.models.sam3_segmenter import SamSegmenter
from salearn.segmenter import Segmenter
from salearn.store import append_line, read_json, read_lines

PROMPTS = ("anterior part", "posterior part")
AXIS = 1  # coronal slices
ARMS = ("zero_shot", "vnet", "mini", "random", "sliced", "random_sliced")
POOL_CASES = 24  # of the pool, the last ones, for looking while developing
# Mosaics of 64 tiles of 32 pixels; single slices are enlarged to 64 pixels, 16 of them a step.
SHOWN = {"mosaic": (256, 1), "single": (64, 16)}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One row to be made."""

    arm: str
    labels: int
    draw: int
    steps: int
    rate: float

    def values(self) -> dict[str, Any]:
        return vars(self)


class Data:
    """The data set with its fixed split."""

    def __init__(self, root: str, part: str) -> None:
        self.dataset: Dataset = read_dataset(DataSource(root=root))
        split = make_split(self.dataset, SplitSettings(test=40, validation=0, seed=0))
        self.pool = split.pool[:-POOL_CASES]
        self._ids = split.test if part == "test" else split.pool[-POOL_CASES:]
        self._cases = {case.id: case for case in self.dataset.cases}

    @cached_property
    def scored(self) -> list[Example]:
        return [self.example(case) for case in self._ids]

    def labeled(self, plan: Plan) -> list[Example]:
        """The first `labels` of a random order: sets of one draw are nested."""
        order = np.random.default_rng(plan.draw).permutation(len(self.pool))
        return [self.example(self.pool[i]) for i in order[: plan.labels]]

    def example(self, case: str) -> Example:
        volume = read_volume(self._cases[case])
        mask = read_mask(self.dataset.masks[case], case, self.dataset.values, volume)
        image = normalise(volume.image, Recipe(kind="percentile"))
        return Example(case_id=case, image=image, mask=mask)


def stitcher(mode: str) -> Stitcher:
    if mode == "single":
        return Stitcher(StitchSettings(policy="single"), AXIS)
    return Stitcher(StitchSettings(tile=(32, 32), fit="crop"), AXIS)


def base(weights: str, mode: str) -> Sam:
    return load_sam(SamSettings(weights=weights, resolution=SHOWN[mode][0]), PROMPTS)


def random_weights(like: str, folder: Path) -> str:
    """Weights of the same size and tokenizer that have learnt nothing."""
    from salearn.models.sam3_mini import RECORD_FILE, new_mini, save_mini
    from salearn.models.sam3_tiny import SamSize
    from salearn.models.sam3_weights import weights_folder
    from salearn.settings import parse

    recipe = read_json(weights_folder(like) / RECORD_FILE)["recipe"]
    model, tokenizer = new_mini(parse(SamSize, recipe["size"], "size"), recipe["seed"])
    save_mini(
        model,
        tokenizer,
        {"recipe": recipe, "recipe_hash": "none", "steps_done": 0, "parameters": 0},
        folder,
    )
    return str(folder)


def trained(plan: Plan, data: Data, weights: str, work: Path) -> Segmenter:
    """The segmenter of an arm."""
    if plan.arm == "vnet":
        return _vnet(plan, data, work)
    mode = "single" if plan.arm.endswith("sliced") else "mosaic"
    if plan.arm.startswith("random"):
        weights = random_weights(weights, work / "random")
    sam = base(weights, mode)
    if plan.arm == "zero_shot":
        return SamSegmenter(sam, stitcher(mode))
    given = FinetuneSettings(iterations=plan.steps, learning_rate=plan.rate, batch=SHOWN[mode][1])
    finetune(
        data.labeled(plan), sam, LoraSettings(), stitcher(mode), given, work / "adapter", plan.draw
    )
    return SamSegmenter.load(sam, work / "adapter", stitcher(mode))


def _vnet(plan: Plan, data: Data, work: Path) -> Segmenter:
    from loops.learning.student_settings import StudentSettings
    from loops.ssl.registry import HOSTS
    from loops.student import load_student, train_student

    settings = StudentSettings(iterations=plan.steps)
    train_student(
        data.labeled(plan),
        [],
        3,
        settings,
        HOSTS.build("supervised", {}),
        None,
        work / "vnet",
        plan.draw,
    )
    return load_student(work / "vnet", "student")


def dice(segmenter: Segmenter, data: Data) -> dict[str, float]:
    """Mean over cases of the Dice of each part, and of both as one."""
    scores: list[list[float]] = []
    found = segmenter.predict([example.image for example in data.scored])
    for example, probabilities in zip(data.scored, found, strict=True):
        labels = probabilities.argmax(0).astype(np.uint8)
        assert example.mask is not None
        parts = confusion(labels, example.mask)
        whole = confusion((labels > 0).astype(np.uint8), (example.mask > 0).astype(np.uint8))
        scores.append([class_counts(parts, k).dice for k in (1, 2)] + [class_counts(whole, 1).dice])
    one, two, foreground = np.nanmean(scores, axis=0)
    return {
        "dice": round(float(one + two) / 2, 4),
        "anterior": round(float(one), 4),
        "posterior": round(float(two), 4),
        "foreground": round(float(foreground), 4),
    }


def plans(given: argparse.Namespace) -> list[Plan]:
    """Every row that is asked for; cheap and telling ones first."""
    made = []
    for arm in given.arms:
        if arm == "zero_shot":
            made.append(Plan(arm=arm, labels=0, draw=0, steps=0, rate=0.0))
            continue
        plan = Plan(arm=arm, labels=1, draw=0, steps=given.steps, rate=given.rate)
        if arm == "vnet":
            plan = replace(plan, steps=240, rate=3e-3)
        made += [replace(plan, labels=n, draw=d) for n in given.labels for d in given.draws]
    return made


def table(rows: list[dict[str, Any]]) -> str:
    """Mean over draws, and the draws, of every arm and number of masks."""
    lines = [
        "| arm | masks | steps, rate | Dice | draws | foreground |",
        "|---|---|---|---|---|---|",
    ]
    keys = sorted({(r["arm"], r["labels"], r["steps"], r["rate"]) for r in rows})
    for arm, labels, steps, rate in keys:
        same = [
            r
            for r in rows
            if (r["arm"], r["labels"], r["steps"], r["rate"]) == (arm, labels, steps, rate)
        ]
        each = ", ".join(f"{r['dice']:.3f}" for r in same)
        mean, whole = (np.mean([r[name] for r in same]) for name in ("dice", "foreground"))
        how = f"{steps}, {rate:g}"
        lines.append(f"| {arm} | {labels} | {how} | **{mean:.3f}** | {each} | {whole:.3f} |")
    return "\n".join(lines)


def main() -> None:
    import torch

    torch.set_num_threads(1)
    given = _parsed()
    data = Data(given.data, given.part)
    done = [row for row in read_lines(given.out) if _mine(row, given)]
    known = [{name: row[name] for name in Plan.__dataclass_fields__} for row in done]
    for plan in plans(given):
        if plan.values() in known:
            continue
        start = time.process_time()
        with tempfile.TemporaryDirectory() as work:
            segmenter = trained(plan, data, given.weights, Path(work))
            spent = time.process_time() - start
            row = plan.values() | dice(segmenter, data)
        row |= {"weights": given.weights, "part": given.part, "cpu_s": round(spent, 1)}
        append_line(given.out, row)
        done.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)
    print(table(done))


def _mine(row: dict[str, Any], given: argparse.Namespace) -> bool:
    return (row["weights"], row["part"]) == (given.weights, given.part)


def _parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, help="root of Task04_Hippocampus")
    parser.add_argument("--weights", default="mini", help="mini, or a folder")
    parser.add_argument("--part", choices=("test", "pool"), default="test", help="what is scored")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS[:5]))
    parser.add_argument("--labels", nargs="+", type=int, default=[1, 4])
    parser.add_argument("--draws", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--out", type=Path, default=Path("mini_eval.jsonl"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
