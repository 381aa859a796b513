"""LoRA arms: in the vision encoder, behind it, or in both."""

from __future__ import annotations

from typing import ClassVar

from salearn.models.arms.blocks import LastBlocks
from salearn.models.arms.registry import register
from salearn.models.lora import LoraSettings, adapt
from salearn.models.sam3 import Sam
from salearn.settings import settings


@settings
class _LowRank(LoraSettings):
    """LoRA through peft, and the heads beside it (`train_modules`)."""

    SOURCE: ClassVar[str] = "Hu et al. 2022; placements of the adaptation notes 3.1"


@settings
class _InTrunk(_LowRank, LastBlocks):
    """LoRA in the vision trunk, or in its last blocks."""

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin of the base with a fresh adapter."""
        return adapt(sam, self, seed, self.last)


@register("lora")
@settings
class Lora(_InTrunk):
    """LoRA in vision transformer and fusion encoder (LoRA-ED), and the heads."""


@register("lora_encoder")
@settings
class LoraEncoder(_InTrunk):
    """LoRA in the vision transformer only (LoRA-E), and the heads."""

    targets: str = "vit_all"


@register("lora_decoder")
@settings
class LoraDecoder(_LowRank):
    """LoRA behind the vision encoder only (LoRA-D), and the heads."""

    targets: str = "detr_all"
