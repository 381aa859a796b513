"""The content key of SAM3 without an adapter."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from salearn.models.sam3_weights import HUB, TINY, weights_folder
from salearn.settings import keyed
from salearn.store import content_key, file_hash

if TYPE_CHECKING:
    from salearn.models.sam3 import SamSettings

CODE_VERSION = 1  # raise when the same settings give other numbers


def sam_key(given: SamSettings) -> str:
    """Content key of the base model: what its numbers depend on."""
    ignored = {"device", "gradient_checkpointing", "attn"}
    values = {name: value for name, value in keyed(given).items() if name not in ignored}
    if given.weights not in {TINY, HUB}:
        values["weights"] = _folder_hash(weights_folder(given.weights))
    return content_key("sam", CODE_VERSION, values)


@lru_cache(maxsize=8)
def _folder_hash(folder: Path) -> str:
    names = sorted(folder.glob("*.safetensors")) + sorted(folder.glob("*.json"))
    return content_key([(path.name, file_hash(path)) for path in names])
