"""Run folders of learner "sam" with chosen scores: what a finished study of arms leaves behind."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from salearn.metrics.evaluate import METRICS, summarise

BUDGETS = (0.1, 0.25, 0.5, 1.0)
CASES = 16  # two images of each patient


def write(
    folder: Path,
    arm: Mapping[str, Any],
    dice: Sequence[float],
    seed: int = 0,
    spread: float = 0.0,
    outside: Sequence[float] | None = None,
    cost: Mapping[str, Any] | None = None,
) -> Path:
    """A run whose mean Dice after each budget is `dice`; patients lie evenly within +-spread.

    The last image of each set shows no structure, and something was found in it.
    """
    folder.mkdir(parents=True)
    rest = ", ".join(f"{k}={v}" for k, v in arm.items() if k != "name")
    label = f"{arm['name']}({rest})" if rest else arm["name"]
    factors = {"dataset": "US", "strategy": "random", "learner": "sam"}
    record = {
        "key": folder.name, "factors": factors | {"draw_seed": seed, "train_seed": seed},
        "budget": [10, 25, 50, 100], "unit": "volume", "classes": ["nodule"], "arm": label,
        "split": {"pool": 100, "validation": 5, "test": CASES, "hash": "h"}, "length_unit": "px",
    }  # fmt: skip
    _json(folder / "run.json", record)
    budgets = list(BUDGETS[: len(dice)])
    config: dict[str, Any] = {"budget": budgets, "arm": dict(arm), "draw_seed": seed}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    patients = {f"test_{i:02d}": f"p{i // 2}" for i in range(CASES + 1)}
    _json(folder / "split.json", {"patients": patients})
    sets = {"test": dice} | ({"external": outside} if outside is not None else {})
    rows, rounds = [], []
    for step in range(len(dice)):
        mine = [r for name, means in sets.items() for r in _rows(name, step, means[step], spread)]
        rows += mine
        rounds.append(_round(step, mine, sets))
    _lines(folder / "cases.jsonl", rows)
    _lines(folder / "rounds.jsonl", rounds)
    if cost is not None:
        _lines(folder / "costs.jsonl", [dict(cost)])
    return folder


def _rows(split: str, step: int, mean: float, spread: float) -> list[dict[str, Any]]:
    found = []
    for i in range(CASES + 1):
        value = mean + spread * (2 * (i // 2) / (CASES // 2 - 1) - 1)
        status = "ok" if i < CASES else "false"
        name = f"{'external:' if split == 'external' else ''}{split}_{i:02d}"
        place = {"round": step, "split": split, "stage": "sam", "case": name, "class": "nodule"}
        score = value if status == "ok" else 0.0
        found.append(dict.fromkeys(METRICS, score) | place | {"status": status})
    return found


def _round(step: int, rows: list[dict[str, Any]], sets: Mapping[str, Any]) -> dict[str, Any]:
    points = {"dice_half": 0.5, "threshold_val": 0.4, "dice_val": 0.6, "threshold_best": 0.3,
              "dice_best": 0.7, "area_bias": 0.1, "n_used": CASES}  # fmt: skip
    metrics: list[dict[str, Any]] = []
    for split in sets:
        mine = [row for row in rows if row["split"] == split]
        metrics += [{"split": split, "stage": "sam"} | row for row in summarise(mine)]
    return {
        "round": step, "num_labeled": (10, 25, 50, 100)[step], "metrics": metrics,
        "cost": {"cases": step, "seconds": step}, "selected": [], "scores": {},
        "rate": {"rule": "first", "chosen": 0.001}
        | ({"tries": [{"rate": 0.001}, {"rate": 0.01}]} if step == 0 else {}),
        "parameters": {"adapter": {"trainable_parameters": 50, "base_parameters": 1000}},
        "trivial": [
            {"split": s, "predictor": p, "class": "nodule", "dice": d, "n_used": CASES}
            for s in sets
            for p, d in (("everything", 0.1), ("centre", 0.4 + step / 100))
        ],
        "points": [
            {"split": s, "stage": "sam", "class": "nodule"}
            | points
            | ({"dice_best": 0.4} if s == "external" else {})
            for s in sets
        ],
        "auc": [
            {"split": s, "stage": "sam", "class": "nodule", "level": "image", "auc": 0.9,
             "average_precision": 0.8, "bound": 0.0, "n_used": 13, "n_total": 13, "why": None}
            for s in sets
        ],
    }  # fmt: skip


def _json(path: Path, values: Any) -> None:
    path.write_text(json.dumps(values))


def _lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
