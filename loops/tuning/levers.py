"""The memory levers of a config in `salearn plan`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from salearn.models import cost_levers
from salearn.models.arms.registry import Arm
from salearn.models.cost import GIB
from salearn.models.sam3 import Sam

if TYPE_CHECKING:
    from loops.config import RunConfig


def of_config(
    config: RunConfig, sam: Sam, arm: Arm, gflop: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Plain values: what frozen blocks save, a cache takes on disk, a teacher and a pretext cost.

    Args:
        sam: from `cost.unloaded_sam`. gflop: of `cost.flops` for one image.

    Returns:
        {"frozen", "cache", "teacher", "pretext"}; a lever that is off is None, and so is a cache
        where nothing is frozen (the run would be refused).
    """
    given, made = config.finetune, config.build_pretext()
    frozen = cost_levers.frozen_cost(sam, arm, given.batch, gflop)
    teacher = None
    if given.teacher is not None:
        teacher = {"gib": cost_levers.teacher_bytes(sam, arm) / GIB, "base_copies": 1}
    return {
        "frozen": frozen,
        "cache": _cache(config, sam) if frozen["frozen"] else None,
        "teacher": teacher,
        "pretext": None if made is None else cost_levers.pretext_cost(sam, made),
    }


def _cache(config: RunConfig, sam: Sam) -> dict[str, float] | None:
    """Disk of a training: what it can draw, within `max_gib`. Volumes are not opened for it."""
    given = config.finetune.cache
    if given is None:
        return None
    one = cost_levers.feature_bytes(sam, given.dtype) / GIB
    draws = config.finetune.iterations * config.finetune.batch
    return {"gib_a_mosaic": one, "gib_at_most": min(given.max_gib, draws * one), "draws": draws}


def lines(found: Mapping[str, Any]) -> list[str]:
    """The same as plain text for people."""
    frozen, cache, teacher, pretext = (
        found[name] for name in ("frozen", "cache", "teacher", "pretext")
    )
    text = [
        f"frozen blocks: the first {frozen['frozen']} of {frozen['blocks']}, "
        f"{frozen['gib_not_kept']:.3f} GiB of activations not kept, GFLOP of a step an image "
        f"{frozen['train_gflop']:,.1f}, behind a cache {frozen['train_cached_gflop']:,.1f}"
    ]
    if cache is not None:
        text.append(
            f"cache: {1024 * cache['gib_a_mosaic']:.3f} MiB a mosaic, at most "
            f"{cache['gib_at_most']:.3f} GiB of disk for {cache['draws']} draws"
        )
    if teacher is not None:
        text.append(f"teacher: {teacher['gib']:.3f} GiB more, the base is held once")
    if pretext is not None:
        text.append(
            f"pretext: {pretext['parameters']:,} parameters of the trunk at {pretext['side']} px, "
            f"{pretext['gib']['total']:.3f} GiB, at most {pretext['pflop_all']:,.1f} PFLOP in all"
        )
    return text
