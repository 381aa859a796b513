"""Weights as safetensors, and full training states that a killed run continues from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from salearn.errors import WeightsError
from salearn.store import atomic


def save_weights(module: nn.Module, path: Path) -> None:
    """Write all weights and buffers, atomically."""
    from safetensors.torch import save_file

    # safetensors keeps no strides: channels-last weights are stored in plain order.
    state = {name: value.detach().contiguous() for name, value in module.state_dict().items()}
    with atomic(path) as temporary:
        save_file(state, temporary)


def load_weights(module: nn.Module, path: Path) -> None:
    """Read weights into a module of the same shape.

    Raises:
        WeightsError: the file is missing, broken or of another network; it names the file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        module.load_state_dict(load_file(path))
    except FileNotFoundError:
        raise WeightsError(f"{path}: there are no weights here; train this network first") from None
    except (SafetensorError, RuntimeError) as error:
        raise WeightsError(
            f"{path}: these weights cannot be read or belong to another network ({error}); "
            "delete the folder to train again"
        ) from None


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write a training state (tensors and plain values), atomically."""
    with atomic(path) as temporary:
        torch.save(state, temporary)


def load_state(path: Path) -> dict[str, Any] | None:
    """The stored training state, or None if there is none."""
    if not path.exists():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def rng_state(generators: dict[str, torch.Generator]) -> dict[str, Tensor]:
    """States of named generators and of torch's global one (dropout draws from it)."""
    states = {name: generator.get_state() for name, generator in generators.items()}
    return {**states, "torch": torch.get_rng_state()}


def set_rng_state(generators: dict[str, torch.Generator], states: dict[str, Tensor]) -> None:
    """Put back what `rng_state` gave."""
    for name, generator in generators.items():
        generator.set_state(states[name])
    torch.set_rng_state(states["torch"])
