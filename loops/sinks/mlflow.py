"""MLflow: an experiment per study, a run per run key.

The server is MLFLOW_TRACKING_URI; without it mlflow.db and mlartifacts beside the run folders are
written (`mlflow ui --backend-store-uri sqlite:///.../mlflow.db` shows them).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from loops.sinks.base import Picture, Record, group_of, losses, scalars, settings_of

KEY = "salearn.key"
BATCH = 1000  # metrics that MLflow takes in one call


class MLflow:
    """An MLflow run in the experiment of its study, found again by the run key."""

    package, install = "mlflow", "mlflow"

    def open(self, run: Record, out: Path) -> None:
        """Begin the run, or go on with it."""
        from mlflow import MlflowClient

        server = os.environ.get("MLFLOW_TRACKING_URI")
        beside = out.resolve().parent
        self._client: Any = MlflowClient(tracking_uri=server or f"sqlite:///{beside}/mlflow.db")
        files = None if server else (beside / "mlartifacts").as_uri()
        experiment = self._experiment(f"salearn/{group_of(out)}", files)
        found = self._client.search_runs([experiment], f"tags.`{KEY}` = '{run['key']}'")
        if found:
            self._id = found[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        made = self._client.create_run(experiment, tags={KEY: run["key"]}, run_name=run["key"])
        self._id = made.info.run_id
        for name, value in settings_of(run).items():
            self._client.log_param(self._id, name, value)

    def _experiment(self, name: str, files: str | None) -> str:
        known = self._client.get_experiment_by_name(name)
        if known is not None:
            return str(known.experiment_id)
        return str(self._client.create_experiment(name, artifact_location=files))

    def round(self, record: Record) -> None:
        """Metrics of a round; step = number of labeled units."""
        self._log([(scalars(record), record["num_labeled"])])

    def curves(self, stage: str, round: int, lines: Sequence[Record]) -> None:
        """Losses below train/STAGE/round_XXX; step = iteration."""
        prefix = f"train/{stage}/round_{round:03d}"
        steps = [
            ({f"{prefix}/{name}": value for name, value in losses(line).items()}, line["iteration"])
            for line in lines
        ]
        self._log(steps)

    def image(self, tag: str, picture: Picture, step: int) -> None:
        """One image artifact."""
        self._client.log_image(self._id, picture, artifact_file=f"{_plain(tag)}/{step:06d}.png")

    def finish(self, record: Record) -> None:
        """The last metrics once more under final/, to sort runs by."""
        final = {f"final/{tag}": value for tag, value in scalars(record).items()}
        self._log([(final, record["num_labeled"])])

    def close(self) -> None:
        """Mark the run as ended."""
        self._client.set_terminated(self._id)

    def _log(self, steps: Sequence[tuple[Mapping[str, float], int]]) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        metrics = [
            Metric(_plain(tag), value, now, step)
            for values, step in steps
            for tag, value in values.items()
        ]
        for start in range(0, len(metrics), BATCH):
            self._client.log_batch(self._id, metrics=metrics[start : start + BATCH])


def _plain(tag: str) -> str:
    """A name of the characters that MLflow allows."""
    return re.sub(r"[^\w\-. /]", "_", tag)
