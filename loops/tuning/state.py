"""What a fine-tuning keeps so that it can go on: its checkpoint, and the optimiser's moments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from salearn.errors import WeightsError
from salearn.store import atomic

CHECKPOINT = "_checkpoint.pt"
MOMENTS = "optimizer.pt"


def write_checkpoint(work: Path, state: Mapping[str, Any]) -> None:
    """Write everything that the next iteration depends on."""
    with atomic(work / CHECKPOINT) as path:
        torch.save(dict(state), path)


def read_checkpoint(work: Path, key: str, device: torch.device) -> dict[str, Any] | None:
    """The state of a training of this key that was cut, if there is one."""
    path = work / CHECKPOINT
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state if state["key"] == key else None


def write_moments(folder: Path, optimizer: torch.optim.Optimizer) -> None:
    """Write what `read_moments` reads."""
    with atomic(folder / MOMENTS) as path:
        torch.save(optimizer.state_dict(), path)


def read_moments(folder: Path, device: torch.device) -> dict[str, Any]:
    """The optimiser's moments of a saved adapter.

    Raises:
        WeightsError: it was saved without.
    """
    path = folder / MOMENTS
    if not path.exists():
        raise WeightsError(
            f"{path}: missing; the adapter before was trained with sfr_plus.optimiser=fresh, "
            "and 'carried' needs its moments: use another store or optimiser=fresh"
        )
    state: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    return state
