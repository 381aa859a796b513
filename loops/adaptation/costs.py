"""What a training took: seconds, peak memory, size on disk. Nothing here decides a result."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

MIB = 2**20
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
# Files of an adapter's folder that inference does not need.
BESIDE = {"record.json", "train.jsonl", "optimizer.pt"}


@contextmanager
def measured(device: str) -> Iterator[dict[str, Any]]:
    """A dict that holds cpu_seconds, wall_seconds, peak_mb and extra_mb once the block is left.

    On CUDA the peak is that of torch's allocator. On Linux it is that of the process since the
    block began, and extra_mb what came on top of what the process held then; elsewhere None.
    """
    found: dict[str, Any] = {}
    cuda = device == "cuda"
    before = _reset(cuda)
    cpu, wall = time.process_time(), time.monotonic()
    yield found
    found["cpu_seconds"] = round(time.process_time() - cpu, 2)
    found["wall_seconds"] = round(time.monotonic() - wall, 2)
    peak = _peak(cuda) if before is not None else None
    found["peak_mb"] = peak
    found["extra_mb"] = None if peak is None or before is None else max(peak - before, 0)


def _reset(cuda: bool) -> int | None:
    """MiB held now, with the peak set back to it; None where it cannot be set back."""
    if cuda:
        import torch

        torch.cuda.reset_peak_memory_stats()
        return int(torch.cuda.memory_allocated() // MIB)
    with suppress(OSError):
        _give_back()
        CLEAR.write_text("5")
        return _line("VmRSS")
    return None


def _give_back() -> None:
    """Return freed memory to the system: what an earlier training left would hide a later one."""
    import ctypes
    import gc

    gc.collect()
    with suppress(AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)


def _peak(cuda: bool) -> int | None:
    if cuda:
        import torch

        return int(torch.cuda.max_memory_allocated() // MIB)
    return _line("VmHWM")


def _line(name: str) -> int | None:
    """A field of this process's status, MiB (Linux writes KiB)."""
    with suppress(OSError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) // 1024
    return None


def checkpoint_bytes(folder: Path) -> int:
    """Bytes of an adapter's folder that inference needs."""
    return sum(f.stat().st_size for f in folder.iterdir() if f.is_file() and f.name not in BESIDE)
