"""What a fine-tuning writes beside its weights: curve, record, review queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from loops.tuning.mining import Mining
from salearn.models.adapted import describe_adapted
from salearn.models.sam3 import Sam
from salearn.store import append_line, read_lines, write_json, write_lines

Report = Callable[[int, int, dict[str, float]], None]
LOG, RECORD, REVIEW = "train.jsonl", "record.json", "review.jsonl"


@runtime_checkable
class LogSettings(Protocol):
    """What of `FinetuneSettings` says when a line is written."""

    @property
    def iterations(self) -> int:
        """Of the training."""
        ...

    @property
    def log_every(self) -> int:
        """Iterations between two lines."""
        ...


def log_loss(work: Path, done: int, given: LogSettings, loss: float, report: Report | None) -> None:
    """A line of the loss curve, if it is time for one."""
    if done % given.log_every and done != given.iterations:
        return
    append_line(work / LOG, {"iteration": done, "loss": round(loss, 6)})
    if report is not None:
        report(done, given.iterations, {"loss": loss})


def recorded(
    sam: Sam,
    mining: Mining | None,
    cases: Sequence[str],
    iterations: int,
    work: Path,
    told: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write record.json, and review.jsonl where guards looked for labels that are missing.

    Args:
        told: more for the record; None in it is left out. "oom" says how the batch was split on a
            full card.
    """
    losses = [None, *(line["loss"] for line in read_lines(work / LOG))]
    record = describe_adapted(sam) | {
        "cases": list(cases),
        "iterations": iterations,
        "last_loss": losses[-1],
    }
    record |= {name: value for name, value in (told or {}).items() if value is not None}
    if mining is not None and mining.given.guards:
        write_lines(work / REVIEW, mining.rows)
        record["review"] = len(mining.rows)
    write_json(work / RECORD, record)
    return record


def queue_reviews(folder: Path, out: Path, round: int, names: Sequence[str]) -> None:
    """Put the review queue of a training into that of its run; lines that are there stay single.

    Args:
        folder: of the adapter. out: of the run. names: of the classes 1.. of the training.
    """
    known = read_lines(out / REVIEW)
    for row in read_lines(folder / REVIEW):
        line = {"round": round} | row | {"class": names[int(row["class"]) - 1]}
        if line not in known:
            append_line(out / REVIEW, line)
