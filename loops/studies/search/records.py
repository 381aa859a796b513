"""What is written about trials: one file each, and the YAML of overrides that a study can name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from loops.studies.search.proxy import Proxy
from loops.studies.search.settings import SearchSettings
from salearn.settings import dump
from salearn.store import read_json, write_json, write_text

BEST = "best.yaml"


class Record:
    """The file of one trial: overrides, curve, status.

    The status is "running" until the trial ends: done, failed, or stopped by the scheduler.

    Args:
        last: step of the last report; a scheduler may end the process there, and it is done.
    """

    def __init__(self, out: Path, key: str, overrides: Mapping[str, Any], last: int) -> None:
        self.last = last
        self.path = out / "trials" / f"{key}.json"
        self.values: dict[str, Any] = {
            "key": key, "overrides": dict(overrides), "curve": [], "dice": None,
            "status": "running", "error": None,
        }  # fmt: skip

    @property
    def found(self) -> dict[str, Any] | None:
        """What an earlier search left behind, if the trial is done."""
        stored = read_json(self.path) if self.path.exists() else None
        return stored if stored and stored["status"] == "done" else None

    def report(self, step: int, dice: float) -> None:
        """Validation Dice at a step."""
        self.values["curve"].append({"step": step, "dice": dice})
        self.values |= {"dice": dice, "status": "done" if step >= self.last else "running"}
        write_json(self.path, self.values)

    def end(self, status: str, error: str | None = None) -> dict[str, Any]:
        """Write how it ended; the record."""
        self.values |= {"status": status, "error": error}
        write_json(self.path, self.values)
        return self.values


def all_records(out: Path) -> list[dict[str, Any]]:
    """Every trial of a folder, by key."""
    return [read_json(path) for path in sorted((out / "trials").glob("*.json"))]


def write_best(
    out: Path, trials: Sequence[Mapping[str, Any]], baseline: str, proxy: Proxy,
    settings: SearchSettings,
) -> dict[str, Any]:  # fmt: skip
    """Write best.yaml; the best trial that ran to its end, the settings as they stood among them.

    Equal Dice: the settings as they stood win, then the lower key.
    """
    ended = [trial for trial in trials if trial["status"] == "done"]
    if not ended:
        return {}
    best = min(ended, key=lambda t: (-t["dice"], t["key"] != baseline, t["key"]))
    stood = next((t["dice"] for t in ended if t["key"] == baseline), None)
    document = {
        "overrides": dict(best["overrides"]),
        "dice": best["dice"],
        "dice_as_it_stood": stood,
        "trial": best["key"],
        "proxy": {k: proxy.record[k] for k in ("hash", "train", "validation", "spent")},
        "search": dump(settings),
    }
    head = (
        "# Written by `salearn search`. Name it in a run or study: tuned: PATH/best.yaml\n"
        f"# {len(ended)} trials on {len(proxy.validation)} validation cases: a difference of one "
        "trial is a small thing.\n"
    )
    write_text(out / BEST, head + yaml.safe_dump(document, sort_keys=False))
    return document
