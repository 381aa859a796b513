"""Settings of a fine-tuning that exclude one another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from salearn.errors import ConfigError
from salearn.hard_negatives import NegativeSettings
from salearn.models.sam3 import SamSettings

if TYPE_CHECKING:
    from loops.finetune import FinetuneSettings


def refuse_unfit(
    sam: SamSettings, given: FinetuneSettings, mining: NegativeSettings | None, trains: bool = True
) -> None:
    """Check that the loss and what it needs of the model go together.

    Args:
        trains: whether the arm trains anything; zero-shot needs no loss.

    Raises:
        ConfigError: a presence logit that nothing trains, or a loss without what it needs.
    """
    wants = given.loss == "semantic" and given.semantic.presence > 0
    if wants and sam.presence == "off":
        raise ConfigError(
            "finetune.loss: semantic has a term for the presence logit, which sam.presence=off "
            "does not make: set sam.presence=train (or gate), or finetune.semantic.presence=0"
        )
    if trains and sam.presence != "off" and not wants:
        raise ConfigError(
            f"sam.presence: {sam.presence} runs the DETR decoder for a logit that nothing trains; "
            "use finetune.loss=semantic with finetune.semantic.presence above 0, or "
            "sam.presence=off"
        )
    if mining and mining.generic.count and (given.loss == "sfr" or not mining.prompt):
        raise ConfigError(
            "mining.generic: prompts of a generic pool are part of the prompt tier, which is off "
            "(mining.prompt=false) or which finetune.loss=sfr, one softmax over all classes, does "
            "not have: use loss=prompt or semantic with mining.prompt=true"
        )
    if given.loss == "sfr" and mining and (mining.pixel or mining.boundary):
        raise ConfigError(
            "finetune.loss: sfr is one softmax over all classes, and mining.pixel and "
            "mining.boundary weigh the pixels of single prompts: use loss=prompt or semantic"
        )
