"""The smallest run that goes through the whole machine, for tests."""

from pathlib import Path
from typing import Any

import yaml


def values(folder: Path, **changes: Any) -> dict[str, Any]:
    """Plain settings of a run of seconds; `changes` replace top-level keys."""
    return {
        "data": {
            "phantom_cases": 9,
            "axis": 1,
            "split": {"test": 2, "validation": 1, "seed": 0},
        },
        "budget": [1, 2],
        "max_unlabeled": 3,
        "sam": {"weights": "tiny"},
        "stitch": {"tile": [32, 32], "fit": "crop"},
        "finetune": {"iterations": 2},
        "student": {"iterations": 4, "width": 4, "depth": 2, "patch": [16, 16, 16]},
        "out": str(folder / "run"),
        "store": str(folder / "store"),
    } | changes


def write(folder: Path, **changes: Any) -> Path:
    """The same as a config file."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values(folder, **changes)))
    return path
