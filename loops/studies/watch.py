"""The state of a study as a table, for a terminal that is watched."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loops.studies.ledger import Ledger
from loops.studies.standing import study_status
from salearn.claims import STALE_SECONDS

if TYPE_CHECKING:
    from rich.table import Table

COLORS = {"done": "green", "running": "cyan", "failed": "red", "interrupted": "yellow"}
OPEN = ("running", "interrupted", "unfinished", "stopped")
ORDER = ("running", "failed", "interrupted", "stopped", "unfinished", "done")


def watch(folder: Path, every: float = 2.0) -> dict[str, Any]:
    """Show the table full-screen until no cell runs or waits; the last state.

    One ledger is kept, so workers on other machines that fall silent are seen.
    """
    from rich.live import Live

    status = study_status(folder)
    ledger = Ledger(folder, status.get("stale", STALE_SECONDS))
    with Live(table(status), screen=True, auto_refresh=False) as live:
        while any(row["status"] in OPEN for row in status["cells"]):
            time.sleep(every)
            status = study_status(folder, ledger)
            live.update(table(status, rows=live.console.height - 7), refresh=True)
    return status


def table(status: Mapping[str, Any], rows: int = 40) -> Table:
    """Running and failed cells first, then as many others as there are rows."""
    from rich.table import Table

    shown = Table(title=headline(status), expand=True)
    for name in ("status", "rounds", "time", "host", "cell", "cause"):
        shown.add_column(name, overflow="fold" if name == "cause" else "ellipsis", no_wrap=True)
    cells = sorted(status["cells"], key=lambda row: ORDER.index(row["status"]))
    for row in cells[: max(rows, 1)]:
        color = COLORS.get(row["status"], "dim")
        shown.add_row(
            f"[{color}]{row['status']}[/]",
            f"{row['rounds']}/{row.get('num_rounds', '?')}",
            clock(row.get("seconds")),
            row.get("host") or "",
            ", ".join(f"{k}={v}" for k, v in row["factors"].items()),
            (row.get("error") or "").replace("[", "\\["),
        )
    return shown


def headline(status: Mapping[str, Any]) -> str:
    """Counts of the cells and the time left, in one line."""
    counts = ", ".join(f"{n} {name}" for name, n in sorted(status["counts"].items()))
    left = status.get("seconds_left")
    return f"{status['name']}: {counts}" + (f", about {clock(left)} left" if left else "")


def clock(seconds: float | None) -> str:
    """h:mm:ss, or nothing where it is unknown."""
    if seconds is None:
        return ""
    whole = int(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
