"""TensorBoard events below the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loops.sinks.base import Picture, Record, losses, scalars, settings_of


class TensorBoard:
    """Event files in out/tensorboard, opened when there is something to show."""

    package, install = "tensorboard", "tensorboard"

    def __init__(self) -> None:
        self._writer: Any = None

    def open(self, run: Record, out: Path) -> None:
        """Remember the folder; a run that has nothing new leaves no empty file."""
        self._run, self._folder = run, out / "tensorboard"

    def round(self, record: Record) -> None:
        """Scalars of a round."""
        for tag, value in scalars(record).items():
            self._events().add_scalar(tag, value, record["num_labeled"])

    def curves(self, stage: str, round: int, lines: Sequence[Record]) -> None:
        """Scalars below train/STAGE/round_XXX."""
        for line in lines:
            for name, value in losses(line).items():
                tag = f"train/{stage}/round_{round:03d}/{name}"
                self._events().add_scalar(tag, value, line["iteration"])

    def image(self, tag: str, picture: Picture, step: int) -> None:
        """One image."""
        self._events().add_image(tag, picture, step, dataformats="HWC")

    def finish(self, record: Record) -> None:
        """The line of this run in the HPARAMS tab."""
        final = {f"final/{tag}": value for tag, value in scalars(record).items()}
        self._events().add_hparams(settings_of(self._run), final, run_name=".")

    def close(self) -> None:
        """Flush the events, if there are any."""
        if self._writer is not None:
            self._writer.close()

    def _events(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._folder))
        return self._writer
