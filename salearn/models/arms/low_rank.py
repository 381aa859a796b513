"""LoRA arms: in the vision encoder, behind it, or in both."""

from __future__ import annotations

from typing import ClassVar

from salearn.models.arms.registry import register
from salearn.models.lora import LoraSettings
from salearn.settings import settings


@settings
class _LowRank(LoraSettings):
    """LoRA through peft, and the heads beside it (`train_modules`)."""

    SOURCE: ClassVar[str] = "Hu et al. 2022; placements of the adaptation notes 3.1"


@register("lora")
@settings
class Lora(_LowRank):
    """LoRA in vision transformer and fusion encoder (LoRA-ED), and the heads."""


@register("lora_encoder")
@settings
class LoraEncoder(_LowRank):
    """LoRA in the vision transformer only (LoRA-E), and the heads."""

    targets: str = "vit_all"


@register("lora_decoder")
@settings
class LoraDecoder(_LowRank):
    """LoRA behind the vision encoder only (LoRA-D), and the heads."""

    targets: str = "detr_all"
