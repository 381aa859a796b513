"""What every sink does, and the names and numbers that all of them show alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from jaxtyping import UInt8
from numpy import ndarray

METRICS = ("dice", "hd95_mm", "nsd")
Picture = UInt8[ndarray, "row column 3"]
Record = Mapping[str, Any]


class Sink(Protocol):
    """One place that shows a run: opened once, closed once; what it raises becomes a warning."""

    def open(self, run: Record, out: Path) -> None:
        """Begin, or go on with, the run of this record (run.json) and folder."""
        ...

    def round(self, record: Record) -> None:
        """Show metrics and cost of a finished round; step = number of labeled units."""
        ...

    def curves(self, stage: str, round: int, lines: Sequence[Record]) -> None:
        """Show the training losses of one stage of a round; step = iteration."""
        ...

    def image(self, tag: str, picture: Picture, step: int) -> None:
        """Show an RGB picture; step = number of labeled units."""
        ...

    def finish(self, record: Record) -> None:
        """Show the settings of the run beside the metrics of its last round."""
        ...

    def close(self) -> None:
        """Flush and let go."""
        ...


def scalars(record: Record) -> dict[str, float]:
    """Metrics and cost of a round by tag; values that are not finite are left out."""
    found = {
        f"{metric}/{row['split']}/{row['stage']}/{row['class']}": row.get(metric)
        for row in record["metrics"]
        for metric in METRICS
    }
    found |= {f"cost/{name}": value for name, value in record["cost"].items()}
    return finite(found)


def losses(line: Record) -> dict[str, float]:
    """The numbers of one line of train.jsonl, its iteration apart."""
    return finite({name: value for name, value in line.items() if name != "iteration"})


def finite(values: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers among some values."""
    return {
        name: float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }


def settings_of(run: Record) -> dict[str, str | int]:
    """What tells a run from its neighbours: factors, budget and unit."""
    budget = ", ".join(str(total) for total in run["budget"])
    return {**run["factors"], "budget": budget, "unit": run["unit"]}


def group_of(out: Path) -> str:
    """Name of the study that a run folder lies in, or of the folder of single runs."""
    parent = out.resolve().parent
    return parent.parent.name if parent.name == "cells" else parent.name
