"""Adapted SAM3s on disk: peft's format for LoRA, named tensors for every other arm."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from salearn.errors import WeightsError
from salearn.models.arms.registry import build
from salearn.models.arms.tensors import load_tensors, save_tensors
from salearn.models.components import count_by_component
from salearn.models.lora import (
    CONFIG_FILE,
    describe,
    load_adapter,
    load_into,
    save_adapter,
    trainable,
)
from salearn.models.sam3 import Sam
from salearn.store import write_json

ARM_FILE, TENSORS_FILE = "arm.json", "arm.safetensors"


def save_adapted(sam: Sam, folder: Path) -> None:
    """Write what an arm has trained into a folder; `load_adapted` reads it.

    Raises:
        ValueError: the SAM3 is the bare base.
    """
    if sam.adapter is not None:
        save_adapter(sam, folder)
        return
    if sam.arm is None:
        raise ValueError("this SAM3 is the bare base: there is nothing to save")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / ARM_FILE, sam.arm)
    save_tensors(sam, folder / TENSORS_FILE)


def load_adapted(sam: Sam, folder: Path) -> Sam:
    """A frozen twin of the base with what an arm has trained.

    Raises:
        WeightsError: files are missing or damaged, or of another base or arm.
    """
    if not (folder / ARM_FILE).exists():
        if not (folder / CONFIG_FILE).exists():
            raise WeightsError(
                f"{folder}: neither {CONFIG_FILE} (LoRA) nor {ARM_FILE} (other arms) is there; it "
                "is not the folder of an adapted SAM3"
            )
        return load_adapter(sam, folder)
    try:
        stored = dict(json.loads((folder / ARM_FILE).read_text()))
        name = str(stored.pop("name"))
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(
            f"{folder / ARM_FILE} cannot be read ({error}); delete the folder and train again"
        ) from None
    adapted = build(name, stored).adapt(sam, seed=0)
    load_tensors(adapted, folder / TENSORS_FILE)
    return adapted.requires_grad_(False).eval()


def go_on_from(sam: Sam, folder: Path) -> None:
    """Give a fresh arm what a saved one has learnt, so that its training can go on.

    Raises:
        WeightsError: files are missing, or the saved one is of another arm, size or base.
    """
    if sam.adapter is not None:
        load_into(sam, folder)
    else:
        load_tensors(sam, folder / TENSORS_FILE)


def describe_adapted(sam: Sam) -> dict[str, Any]:
    """Exact counts for the run record, in all and by component; never a bare percentage."""
    by_component = count_by_component(sam.model.named_parameters(), trainable=True)
    trained = {name: count for name, count in by_component.items() if count}
    if sam.adapter is not None:
        return describe(sam) | {"trainable_by_component": trained}
    return {
        "arm": (sam.arm or {}).get("name"),
        "base_parameters": sam.base_parameters,
        "trainable_parameters": sum(p.numel() for p in trainable(sam).values()),
        "trainable_by_component": trained,
    }
