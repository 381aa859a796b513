"""A study of cells that cost nothing: what happens around them is what is tested."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from loops.config import RunConfig
from loops.studies.study import Study, load_study
from salearn.store import append_line, read_lines


def make(folder: Path, changes: tuple[str, ...] = (), **section: Any) -> Study:
    """Cells of two rounds, one for each draw seed in `seeds` (default 3)."""
    seeds = section.pop("seeds", [0, 1, 2])
    values = {
        "data": {"phantom_cases": 9, "split": {"test": 2, "validation": 1}},
        "budget": [1, 2],
        "study": {
            "name": "quick",
            "out": str(folder / "study"),
            "backend": "serial",
            "factors": {"strategy": ["random"], "draw_seed": seeds},
        }
        | section,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return load_study(path, changes)


def runner(calls: list[int], cpu_seconds: float = 36.0) -> Callable[..., dict[str, Any]]:
    """A stand-in for `loops.cell.run_cell` that goes on after the finished rounds."""

    def run_cell(config: RunConfig, progress: object = None) -> dict[str, Any]:
        calls.append(config.draw_seed)
        out = Path(config.out)
        for k in range(len(read_lines(out / "rounds.jsonl")), config.num_rounds):
            append_line(out / "timings.jsonl", {"round": k, "cpu_seconds": cpu_seconds / 2})
            row = {"class": "mean", "dice": config.draw_seed / 10}
            append_line(out / "rounds.jsonl", {"round": k, "metrics": [row]})
        return {}

    return run_cell
