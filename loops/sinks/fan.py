"""All sinks of a run as one; a sink that fails is left out from then on, with a warning."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from loops.sinks.base import Picture, Record, Sink
from loops.sinks.mlflow import MLflow
from loops.sinks.tensorboard import TensorBoard
from loops.sinks.wandb import WandB
from salearn.errors import ConfigError
from salearn.settings import nearest

SINKS: dict[str, type[TensorBoard] | type[WandB] | type[MLflow]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "mlflow": MLflow,
}


def check_names(names: Sequence[str]) -> None:
    """ConfigError for a sink that does not exist, or one named twice."""
    for name in names:
        if name not in SINKS:
            raise ConfigError(f"sinks: unknown sink '{name}': {nearest(name, SINKS)}")
    if len(set(names)) != len(names):
        raise ConfigError(f"sinks: {', '.join(names)}: name each sink once")


class Sinks:
    """Context manager that shows a run in several places. No failure of theirs comes out of it.

    Raises:
        ConfigError: at the start, if the package of a sink is not installed.
    """

    def __init__(self, names: Sequence[str], say: Callable[[str], None]) -> None:
        check_names(names)
        for name in names:
            if not _installed(SINKS[name].package):
                raise ConfigError(
                    f"sinks: '{name}' needs the package {SINKS[name].package}; "
                    f"install it (pip install {SINKS[name].install}) or leave '{name}' out"
                )
        self._sinks: dict[str, Sink] = {name: SINKS[name]() for name in names}
        self._say = say
        self._shown: Record | None = None

    def __enter__(self) -> Sinks:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._shown is None:
            return
        if kind is None:
            self._each("finish", self._shown)
        self._each("close")

    def describe(self, run: Record, out: Path) -> None:
        """Which run this is; the sinks are opened when there is something new to show."""
        self._run = run, out

    def round(self, record: Record) -> None:
        """Show a finished round."""
        if self._shown is None:
            self._each("open", *self._run)
        self._shown = record
        self._each("round", record)

    def curves(self, stage: str, round: int, lines: Sequence[Record]) -> None:
        """Show the losses of a stage."""
        self._each("curves", stage, round, lines)

    def pictures(self, folder: Path, step: int) -> None:
        """Show the PNG files of a folder."""
        for path in sorted(folder.glob("*.png")):
            self._each("image", f"overlay/{path.stem}", _read(path), step)

    def _each(self, method: str, *given: Any) -> None:
        for name, sink in list(self._sinks.items()):
            try:
                getattr(sink, method)(*given)
            except Exception as error:
                del self._sinks[name]
                self._say(f"warning: sink '{name}' failed and is left out ({error!r})")


def _read(path: Path) -> Picture:
    import numpy as np
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _installed(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None
