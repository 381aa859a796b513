"""Synthetic run folders: what the outer loop writes, without training anything."""

import itertools
import json

import numpy as np
import pytest

from salearn.metrics.evaluate import METRICS, summarise

GAIN = {"random": 0.0, "hybrid": 0.04, "supervised": 0.0, "sfr_mean_teacher": 0.08}
STAGES = {"supervised": ("student", "teacher"), "sfr_mean_teacher": ("sam", "student", "teacher")}
CLASSES = ("anterior", "posterior")


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def case_row(case, name, dice):
    row = dict.fromkeys(METRICS, dice) | {"case": case, "class": name, "dice": dice}
    far = {"hd95_mm": 20 * (1 - dice), "volume_error": dice - 1}
    return row | far | {"status": "ok" if dice > 0 else "missed"}


def write_run(
    folder,
    strategy="random",
    learner="supervised",
    draw_seed=0,
    train_seed=0,
    budget=(1, 2, 4),
    done=None,
    num_cases=12,
    config="",
    split_hash="abc123",
    dice=None,
    **extra,
):
    """One run folder; `dice(step, stage, name, case)` replaces the made-up scores."""
    folder.mkdir(parents=True)
    key = "-".join(map(str, (strategy, learner, draw_seed, train_seed)))
    factors = {"dataset": "Hippo", "strategy": strategy, "learner": learner}
    record = {
        "key": key,
        "factors": factors | {"draw_seed": draw_seed, "train_seed": train_seed},
        "budget": list(budget),
        "unit": "volume",
        "classes": list(CLASSES),
        "versions": {"python": "3.11.0", "torch": "2.13.0"},
        "split": {"pool": 20, "validation": 2, "test": num_cases, "hash": split_hash},
    } | extra
    (folder / "run.json").write_text(json.dumps(record))
    (folder / "config.yaml").write_text(config + f"draw_seed: {draw_seed}\nout: {folder}\n")
    hard = np.random.default_rng(9).normal(0, 0.04, num_cases)
    noise = np.random.default_rng([draw_seed, train_seed, *key.encode()])
    rounds, cases = [], []
    for step, total in enumerate(budget[:done]):
        shift = noise.normal(0, 0.015)
        rows = []
        for stage, split in itertools.product(STAGES[learner], ("validation", "test")):
            count = num_cases if split == "test" else 2
            for index, name in itertools.product(range(count), CLASSES):
                level = 0.9 - 0.35 * 0.6**step + GAIN[strategy] * 0.5**step + GAIN[learner] * 0.5
                level += (
                    hard[index] + shift - 0.02 * (name == "posterior") - 0.01 * (stage == "sam")
                )
                score = dice(step, stage, name, index) if dice else min(level, 1.0)
                place = {"round": step, "split": split, "stage": stage}
                rows.append(place | case_row(f"{split}_{index:02d}", name, score))
        cases += rows
        groups = itertools.groupby(rows, key=lambda row: (row["split"], row["stage"]))
        means = [
            {"split": split, "stage": stage} | row
            for (split, stage), group in groups
            for row in summarise(list(group))
        ]
        rounds.append(
            {
                "round": step,
                "num_labeled": total,
                "selected": [f"pool_{(total + draw_seed) % 5}"],
                "scores": {f"pool_{n}": 0.5 for n in range(5)},
                "cost": {"cases": total, "slices": 40 * total, "voxels": 1, "seconds": 60 * total},
                "metrics": means,
                "pseudo": None,
                "dead_classes": {},
            }
        )
    lines(folder / "rounds.jsonl", rounds)
    lines(folder / "cases.jsonl", cases)
    lines(folder / "timings.jsonl", [{"round": 0, "stage": "student", "cpu_seconds": 2.5}])
    return folder


@pytest.fixture
def make_run():
    return write_run


@pytest.fixture
def study(tmp_path):
    """2 strategies x 2 learners x 2 draw seeds, 3 budgets, in the layout of a sweep."""
    root = tmp_path / "study"
    for strategy, learner, seed in itertools.product(
        ("random", "hybrid"), ("supervised", "sfr_mean_teacher"), (0, 1)
    ):
        write_run(root / "cells" / f"{strategy}_{learner}_{seed}", strategy, learner, seed)
    return root
