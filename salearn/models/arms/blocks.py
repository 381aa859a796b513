"""Adapting the last blocks of the vision trunk only: what lies below keeps no activations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import ClassVar

from salearn.errors import ConfigError
from salearn.models.sam3 import Sam
from salearn.settings import Field, settings

TRUNK = "vision_encoder.backbone."
_BLOCK = re.compile(re.escape(TRUNK) + r"layers\.(\d+)\.")


@settings
class LastBlocks:
    """What an arm obeys that may adapt the vision trunk.

    Attributes:
        last: blocks of the trunk that are adapted, counted from its end; everything below them,
            patch and position embeddings included, stays frozen, and no gradient reaches it.
            None = all.
    """

    NEWER: ClassVar[tuple[str, ...]] = ("last",)
    last: int | None = Field(default=None, ge=1)


def first_block(sam: Sam, last: int | None) -> int:
    """Number of the first block that may be adapted.

    Raises:
        ConfigError: the trunk has fewer blocks.
    """
    blocks = len(sam.backbone.layers)
    if last is None:
        return 0
    if last > blocks:
        raise ConfigError(
            f"arm.last: {last}, but the vision trunk of sam.weights={sam.settings.weights} has "
            f"{blocks} blocks; name at most {blocks}, or leave it out to adapt all of it"
        )
    return blocks - last


def behind(sam: Sam, names: Iterable[str], last: int | None) -> list[str]:
    """Of these parameters those that lie in the last blocks of the trunk, or behind it."""
    first = first_block(sam, last)
    if last is None:
        return list(names)
    return [name for name in names if not name.startswith(TRUNK) or _number(name) >= first]


def without_first(pattern: str, sam: Sam, last: int | None) -> str:
    """A regular expression of module paths that leaves the blocks below the last ones out.

    Raises:
        ConfigError: it has nothing in the trunk that could be left out.
    """
    if last is None:
        return pattern
    first = first_block(sam, last)
    try:
        fits = re.compile(pattern).fullmatch
    except re.error:
        return pattern  # refused with its own message where the targets are looked for
    if not any(_BLOCK.match(name) and fits(name) for name, _ in sam.model.named_modules()):
        raise ConfigError(
            f"arm.last: {last}, but the arm's targets adapt nothing in the vision trunk; leave "
            "`last` out, or choose targets of the trunk (vit_all, vit_detr_all)"
        )
    if not first:
        return pattern
    numbers = "|".join(str(number) for number in range(first))
    return rf"(?!{re.escape(TRUNK)}layers\.({numbers})\.)({pattern})"


def _number(name: str) -> int:
    """Of the block that a path of the trunk leads into; -1 for what comes before the blocks."""
    found = _BLOCK.match(name)
    return int(found[1]) if found else -1
