"""Weights & Biases: one run id per run key, so a run that goes on stays one run there.

Project, server and mode come from its own environment variables (WANDB_PROJECT, WANDB_BASE_URL,
WANDB_MODE=offline for machines without network).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loops.sinks.base import Picture, Record, group_of, losses, scalars, settings_of

STEP = "num_labeled"


class WandB:
    """A W&B run in the group of its study."""

    package, install = "wandb", "wandb"

    def open(self, run: Record, out: Path) -> None:
        """Begin the run, or go on with it."""
        import wandb

        factors = run["factors"]
        tags = [f"{name}:{factors[name]}" for name in ("strategy", "learner", "dataset")]
        self._module: Any = wandb
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "salearn"),
            dir=str(out),
            id=run["key"],
            name=run["key"],
            group=group_of(out),
            tags=[tag[:64] for tag in tags],  # a longer tag is refused
            config=settings_of(run),
            resume="allow",
        )
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)

    def round(self, record: Record) -> None:
        """Scalars of a round against the number of labeled units."""
        self._run.log(scalars(record) | {STEP: record["num_labeled"]})

    def curves(self, stage: str, round: int, lines: Sequence[Record]) -> None:
        """Losses against their own iteration: W&B's one step counter never goes back."""
        prefix = f"train/{stage}/round_{round:03d}"
        self._run.define_metric(f"{prefix}/*", step_metric=f"{prefix}/iteration")
        for line in lines:
            values = {f"{prefix}/{name}": value for name, value in losses(line).items()}
            self._run.log(values | {f"{prefix}/iteration": line["iteration"]})

    def image(self, tag: str, picture: Picture, step: int) -> None:
        """One image."""
        self._run.log({tag: self._module.Image(picture), STEP: step})

    def finish(self, record: Record) -> None:
        """The last metrics into the summary, beside the settings."""
        self._run.summary.update({f"final/{t}": value for t, value in scalars(record).items()})

    def close(self) -> None:
        """Wait until everything is written or sent."""
        self._run.finish()
