"""TensorBoard events of a run: a sink; rounds.jsonl is the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any


class Board:
    """Scalars of finished rounds, step = number of labeled units."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writer: Any = None

    def add(self, record: dict[str, Any]) -> None:
        """Write the metrics and the cost of one round."""
        step = record["num_labeled"]
        for row in record["metrics"]:
            for metric in ("dice", "hd95_mm", "nsd"):
                if row.get(metric) is not None:
                    tag = f"{metric}/{row['split']}/{row['stage']}/{row['class']}"
                    self._open().add_scalar(tag, row[metric], step)
        for name, value in record["cost"].items():
            self._open().add_scalar(f"cost/{name}", value, step)

    def curves(self, stage: str, round: int, lines: list[dict[str, Any]]) -> None:
        """Write the training losses of one stage of a round, step = iteration."""
        for line in lines:
            for name, value in line.items():
                if name != "iteration":
                    tag = f"train/{stage}/round_{round:03d}/{name}"
                    self._open().add_scalar(tag, value, line["iteration"])

    def close(self) -> None:
        """Flush what was written, if anything was."""
        if self._writer is not None:
            self._writer.close()

    def _open(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self._writer
