"""A training that goes on from the student of an earlier one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from salearn.errors import WeightsError
from salearn.models.checkpoint import load_state, load_weights, save_state

if TYPE_CHECKING:
    from loops.learning.training import Trainer

MOMENTS = "optimisers.pt"


def go_on(trainer: Trainer, folder: Path, carry: bool) -> None:
    """Take student, teacher and the host's saved networks from the folder of a finished student.

    Args:
        carry: take the moments of the optimisers too; the learning rate follows the new schedule.

    Raises:
        WeightsError: the folder lacks weights, or the moments that are to be carried on.
    """
    load_weights(trainer.student, folder / "student.safetensors")
    load_weights(trainer.teacher.module, folder / "teacher.safetensors")
    for name, part in trainer.parts.items():
        if part.saved:
            load_weights(part.net, folder / f"{name}.safetensors")
    if not carry:
        return
    state = load_state(folder / MOMENTS)
    if state is None:
        raise WeightsError(
            f"{folder}: no {MOMENTS}; it was trained with sfr_plus.optimiser=fresh, and 'carried' "
            "needs the moments of the training before: use another store or optimiser=fresh"
        )
    for name, optimiser in trainer.optimisers.items():
        optimiser.load_state_dict(state[name])


def keep_moments(trainer: Trainer, folder: Path) -> None:
    """Write what `go_on` with `carry` reads."""
    states = {name: optimiser.state_dict() for name, optimiser in trainer.optimisers.items()}
    save_state(folder / MOMENTS, states)
