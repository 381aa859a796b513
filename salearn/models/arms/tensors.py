"""Tensors of a twin that are trained in place: opened, stored, put back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from salearn.errors import ConfigError, WeightsError
from salearn.models.components import SEMANTIC, component_of
from salearn.models.sam3 import Sam
from salearn.models.sam3_presence import PRESENCE_HEADS, PRESENCE_LAYERS
from salearn.settings import nearest

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def open_tensors(twin: Sam, names: Iterable[str]) -> None:
    """Give the twin its own copies of these parameters of its model, and ask for gradients."""
    for name in names:
        owner, _, leaf = name.rpartition(".")
        module = twin.model.get_submodule(owner)
        own = module._parameters[leaf].detach().clone()
        module._parameters[leaf] = nn.Parameter(own, requires_grad=True)


def of_components(sam: Sam, components: Iterable[str]) -> list[str]:
    """Names of all parameters of these components."""
    wanted = set(components)
    return [name for name, _ in sam.model.named_parameters() if component_of(name) in wanted]


def presence_heads(sam: Sam) -> tuple[str, ...]:
    """Modules of the shared head set that presence adds: none where it is not asked for."""
    return () if sam.settings.presence == "off" else PRESENCE_HEADS


def of_heads(sam: Sam, heads: Iterable[str]) -> list[str]:
    """Names of the parameters of the shared head set H of an arm, presence included."""
    return of_modules(sam, (*heads, *presence_heads(sam)))


def of_presence_path(sam: Sam) -> list[str]:
    """Names of all parameters that only the presence logit sees, where it is asked for."""
    if sam.settings.presence == "off":
        return []
    return of_modules(sam, (*PRESENCE_LAYERS, *PRESENCE_HEADS))


def of_modules(sam: Sam, modules: Iterable[str], key: str = "arm.heads") -> list[str]:
    """Names of all parameters below modules, given by path or by the end of a path.

    Raises:
        ConfigError: there is no such module; the nearest name is given.
    """
    known = [name for name, _ in sam.model.named_modules() if name]
    found: dict[str, None] = {}
    for wanted in modules:
        paths = [name for name in known if name == wanted or name.endswith("." + wanted)]
        if not paths:
            short = {n for n in known if n.count(".") < 2} | {n.rsplit(".")[-1] for n in known}
            raise ConfigError(f"{key}: SAM3 has no module '{wanted}': {nearest(wanted, short)}")
        for name, _ in sam.model.named_parameters():
            if any(name.startswith(path + ".") for path in paths):
                found[name] = None
    return list(found)


def biases_and_norms(sam: Sam) -> list[str]:
    """Names of the biases and of all parameters of norms on the semantic path."""
    norms = {name for name, m in sam.model.named_modules() if isinstance(m, NORMS)}
    return [
        name
        for name, _ in sam.model.named_parameters()
        if component_of(name) in SEMANTIC
        and (name.endswith(".bias") or name.rpartition(".")[0] in norms)
    ]


def save_tensors(sam: Sam, path: Path) -> None:
    """Write every trained tensor of the model by name."""
    opened = {
        n: p.detach().contiguous() for n, p in sam.model.named_parameters() if p.requires_grad
    }
    save_file(opened, path)


def load_tensors(sam: Sam, path: Path) -> None:
    """Put stored tensors back into a twin whose arm was built anew.

    Raises:
        WeightsError: the file is missing, damaged or of another base or arm.
    """
    mine = {n: p for n, p in sam.model.named_parameters() if p.requires_grad}
    try:
        stored = load_file(path)
    # safetensors and the file system raise kinds of their own for damage.
    except Exception as error:
        raise WeightsError(
            f"{path}: the arm's tensors cannot be read ({type(error).__name__}: {error}); delete "
            "the folder and train again"
        ) from error
    wrong = sorted(set(mine) ^ set(stored))
    wrong += [n for n in mine if n in stored and mine[n].shape != stored[n].shape]
    if wrong:
        raise WeightsError(
            f"{path}: {len(wrong)} tensors are missing, unknown or of another shape, e.g. "
            f"{wrong[0]}; it was trained on another base or arm"
        )
    with torch.no_grad():
        for name, parameter in mine.items():
            parameter.copy_(stored[name])
