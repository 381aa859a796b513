"""Progress for people: rich bars with time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Report = Callable[[int, int, dict[str, float]], None]
QUIET_SECONDS = 20.0


class Progress:
    """One line (or bar) per stage, on standard error."""

    def __init__(self, prefix: str = "", enabled: bool = True) -> None:
        self._prefix = prefix
        self._enabled = enabled
        self._bars = enabled and sys.stderr.isatty()

    def say(self, text: str) -> None:
        """One plain sentence."""
        if self._enabled:
            print(f"{self._prefix}{text}", file=sys.stderr, flush=True)

    @contextmanager
    def stage(self, name: str) -> Iterator[Report]:
        """A callback (done, total, values) that shows how far the stage is."""
        if not self._enabled:
            yield lambda done, total, values: None
        elif self._bars:
            with self._bar(name) as report:
                yield report
        else:
            yield self._lines(name)

    @contextmanager
    def _bar(self, name: str) -> Iterator[Report]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[values]}"),
        )
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(f"{self._prefix}{name}", total=None, values="")

            def report(done: int, total: int, values: dict[str, float]) -> None:
                bars.update(task, completed=done, total=total, values=_short(values))

            yield report

    def _lines(self, name: str) -> Report:
        start = time.monotonic()
        last = start

        def report(done: int, total: int, values: dict[str, float]) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < QUIET_SECONDS or done == 0:
                return
            last = now
            left = (now - start) / done * (total - done)
            self.say(f"{name}: {done}/{total}, {left:.0f} s left {_short(values)}".rstrip())

        return report


def _short(values: dict[str, float]) -> str:
    return " ".join(f"{key} {value:.3f}" for key, value in list(values.items())[:3])
