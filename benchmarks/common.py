"""How everything here is measured, and the row and table it ends in.

The arms of a comparison run one after the other in one process (A B C, A B C, ...), each round
gives a ratio, and the median of the ratios is what counts: a busy machine slows all arms alike.
Times are CPU-seconds of the process on one thread.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any, NotRequired, TypedDict

import numpy as np

from salearn.store import write_text

PACKAGES = ("numpy", "scipy", "torch", "transformers", "monai", "scikit-learn")
COLUMNS = ("bench", "what", "CPU-s", "other CPU-s", "ratio", "MiB", "other MiB", "against")


class Row(TypedDict):
    """One line of the table.

    `ratio` is the other's CPU time over ours: above 1 ours is faster. `difference` is the largest
    between the answers. Memory is what a call adds at its highest to what the process already
    held; where nothing is compared, the other's values are None.
    """

    bench: str
    what: str
    against: str | None
    rounds: int
    cpu_s: float
    other_cpu_s: float | None
    ratio: float | None
    ratio_range: tuple[float, float] | None
    difference: float | None
    peak_mib: float | None
    other_peak_mib: float | None
    wall_s: NotRequired[float]


@dataclass(frozen=True, kw_only=True)
class Other:
    """What ours is compared with; with a tolerance its answer must be ours."""

    name: str
    run: Callable[[], Any]
    tolerance: float | None = None


def compare(
    bench: str,
    what: str,
    ours: Callable[[], Any],
    others: Sequence[Other],
    rounds: int,
    repeats: int = 1,
) -> list[Row]:
    """One row for each other arm.

    Args:
        repeats: calls that are timed together, for arms of milliseconds.

    Raises:
        ArithmeticError: an answer differs by more than the tolerance of its arm.
    """
    arms = [ours, *(other.run for other in others)]
    answers = [arm() for arm in arms]  # also imports and first calls
    differences = [
        check(f"{bench}: {what}: {other.name}", answers[0], answer, other.tolerance)
        for other, answer in zip(others, answers[1:], strict=True)
    ]
    answers.clear()
    seconds = np.array(interleaved(arms, rounds, repeats))
    peaks = [peak_mib(arm) for arm in arms]
    return [
        _row(bench, what, other.name, seconds[:, [0, i]], differences[i - 1], (peaks[0], peaks[i]))
        for i, other in enumerate(others, start=1)
    ]


def once(bench: str, what: str, ours: Callable[[], Any], others: Sequence[Other]) -> list[Row]:
    """As `compare`, every arm called once: time, memory and answer are of that one call.

    For arms of many seconds; first-call costs are in the figure.

    Raises:
        ArithmeticError: an answer differs by more than the tolerance of its arm.
    """
    mine = _called(ours)
    rows = []
    for other in others:
        theirs = _called(other.run)
        where = f"{bench}: {what}: {other.name}"
        gap = check(where, mine[0], theirs[0], other.tolerance)
        seconds = np.array([[mine[1], theirs[1]]])
        rows.append(_row(bench, what, other.name, seconds, gap, (mine[2], theirs[2])))
        del theirs
    return rows


def _called(run: Callable[[], Any]) -> tuple[Any, float, float | None]:
    """Answer, CPU-seconds and peak memory of one call."""
    found: list[Any] = []

    def timed() -> None:
        start = time.process_time()
        answer = run()
        found[:] = [answer, time.process_time() - start]

    peak = peak_mib(timed)
    return found[0], found[1], peak


def alone(bench: str, what: str, run: Callable[[], Any], rounds: int) -> Row:
    """A row of something that has no counterpart."""
    run()
    seconds = median(cpu_seconds(run) for _ in range(rounds))
    return lone_row(bench, what, rounds, seconds, peak_mib(run))


def lone_row(bench: str, what: str, rounds: int, seconds: float, peak: float | None) -> Row:
    return Row(
        bench=bench,
        what=what,
        against=None,
        rounds=rounds,
        cpu_s=_digits(seconds),
        other_cpu_s=None,
        ratio=None,
        ratio_range=None,
        difference=None,
        peak_mib=peak,
        other_peak_mib=None,
    )


def check(where: str, ours: Any, other: Any, tolerance: float | None) -> float | None:
    """The largest difference of two answers; None if they are not to be compared."""
    if tolerance is None:
        return None
    found = difference(ours, other)
    if not found <= tolerance:  # NaN is a fault too
        raise ArithmeticError(f"{where}: answers differ by {found:g}, allowed is {tolerance:g}")
    return found


def difference(ours: Any, other: Any) -> float:
    """Largest absolute difference of two numbers, arrays or (nested) lists of them."""
    if isinstance(ours, list | tuple):
        return max((difference(a, b) for a, b in zip(ours, other, strict=True)), default=0.0)
    a, b = np.asarray(ours, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0))


def interleaved(
    arms: Sequence[Callable[[], Any]], rounds: int, repeats: int = 1
) -> list[list[float]]:
    """CPU-seconds of a call of each arm, round after round."""
    return [[cpu_seconds(arm, repeats) for arm in arms] for _ in range(rounds)]


def cpu_seconds(run: Callable[[], Any], repeats: int = 1) -> float:
    start = time.process_time()
    for _ in range(repeats):
        run()
    return (time.process_time() - start) / repeats


def peak_mib(run: Callable[[], Any]) -> float | None:
    """Highest resident memory during a call minus that before it, MiB; None where not Linux."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # else memory freed by the last arm hides this one's
        Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    except (OSError, AttributeError):
        return None
    before = _kib("VmRSS")
    run()
    return round(max(_kib("VmHWM") - before, 0) / 1024, 1)


def _kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")


@contextmanager
def one_thread(torch: bool = True) -> Iterator[None]:
    """Inside the block numpy, and torch unless told otherwise, use one thread."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if torch:
        import torch as module

        module.set_num_threads(1)
    with threadpool_limits(1):
        yield


def emit(rows: Iterable[Row]) -> None:
    """Print rows as JSON lines, as each is done."""
    for row in rows:
        print(json.dumps(row), flush=True)


def table(rows: Sequence[Row]) -> str:
    """The rows as a Markdown table that can also be read in a terminal."""
    lines = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(COLUMNS))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in (lines[0], rule, *lines[1:])
    )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    pairs = [line.split(":", 1) for line in info.splitlines() if ":" in line]
    fields = {key.strip(): value.strip() for key, value in pairs}
    return {
        "cpu": fields.get("model name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "avx512": "avx512f" in fields.get("flags", "").split(),
        "load": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "system": sys.platform,
    }


def _row(
    bench: str,
    what: str,
    name: str,
    seconds: np.ndarray,
    found: float | None,
    peaks: tuple[float | None, float | None],
) -> Row:
    ratios = seconds[:, 1] / seconds[:, 0]
    row = lone_row(bench, what, len(seconds), float(np.median(seconds[:, 0])), peaks[0])
    return Row(
        **row
        | {
            "against": name,
            "other_cpu_s": _digits(float(np.median(seconds[:, 1]))),
            "ratio": round(float(np.median(ratios)), 2),
            "ratio_range": (round(float(ratios.min()), 2), round(float(ratios.max()), 2)),
            "difference": found,
            "other_peak_mib": peaks[1],
        }
    )


def _cells(row: Row) -> tuple[str, ...]:
    low_high = row["ratio_range"]
    ratio = "" if low_high is None else f"{row['ratio']} ({low_high[0]} - {low_high[1]})"
    numbers = (row["peak_mib"], row["other_peak_mib"])
    return (
        row["bench"],
        row["what"],
        f"{row['cpu_s']:g}",
        "" if row["other_cpu_s"] is None else f"{row['other_cpu_s']:g}",
        ratio,
        *("" if number is None else f"{number:g}" for number in numbers),
        row["against"] or (f"{row['wall_s']:g} s wall" if "wall_s" in row else ""),
    )


def _digits(value: float) -> float:
    """Three significant digits."""
    return float(f"{value:.3g}")


def between(page: Path, begin: str, end: str, blocks: Sequence[str], new: str = "") -> None:
    """Replace what stands between two markers of a page.

    Args:
        new: what a page begins with that is not there yet; it holds both markers.
    """
    before, _, rest = (page.read_text() if page.is_file() else new).partition(begin)
    after = rest.partition(end)[2]
    write_text(page, "\n\n".join([before + begin, *blocks, end + after]).rstrip() + "\n")
