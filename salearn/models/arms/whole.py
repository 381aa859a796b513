"""Arms that train tensors of SAM3 itself: nothing, heads, decoder, biases, everything."""

from __future__ import annotations

from typing import ClassVar

from salearn.models.arms.blocks import LastBlocks, behind
from salearn.models.arms.registry import ARMS, register
from salearn.models.arms.tensors import (
    biases_and_norms,
    of_components,
    of_heads,
    of_presence_path,
    open_tensors,
)
from salearn.models.components import SEMANTIC
from salearn.models.sam3 import Sam
from salearn.settings import Field, keyed, settings

SMALL = (1e-5, 2.5e-5, 5e-5)  # full tensors move little; modules of few values move more
LARGE = (1e-4, 3e-4, 1e-3)


def opened(sam: Sam, names: list[str], arm: object) -> Sam:
    """A twin with these tensors of its own, that remembers its arm."""
    twin = sam.adapting({"name": ARMS.name_of(arm), **keyed(arm)})
    open_tensors(twin, names)
    return twin


@register("zero_shot")
@settings
class ZeroShot:
    """Nothing is trained: the text prompts alone decide."""

    SOURCE: ClassVar[str] = "SAM3-Zero of the thyroid budget study; original encoder, never MAE's"
    RATES: ClassVar[tuple[float, float, float]] = SMALL

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin without anything to train."""
        return opened(sam, [], self)


@settings
class Heads:
    """What every arm but `zero_shot` trains in full: the shared head set H.

    Attributes:
        heads: modules by path or end of path. The default suits weights that never saw the task's
            images; for pretrained SAM3 the output layer alone ("semantic_projection") is H of the
            reconstruction, and the same H in all arms keeps the comparison fair.
    """

    heads: tuple[str, ...] = ("mask_decoder", "neck")


@register("head")
@settings
class Head(Heads):
    """Only the shared head set: the floor of a linear probe."""

    SOURCE: ClassVar[str] = "HEAD; reconstruction"
    RATES: ClassVar[tuple[float, float, float]] = LARGE

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin whose heads are trained."""
        return opened(sam, of_heads(sam, self.heads), self)


@register("decoder")
@settings
class Decoder(Heads):
    """Everything behind the vision encoder that the semantic path runs, and the heads."""

    SOURCE: ClassVar[str] = "DEC; finetune-SAM's decoder-only arms"
    RATES: ClassVar[tuple[float, float, float]] = LARGE

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin whose fusion encoder and segmentation head are trained."""
        names = of_components(sam, ("fusion_encoder", "seg_head")) + of_heads(sam, self.heads)
        names += of_presence_path(sam)
        return opened(sam, list(dict.fromkeys(names)), self)


@register("full")
@settings
class Full(LastBlocks):
    """Every tensor that the semantic path runs; the text tower stays as it is.

    Attributes:
        layer_decay: the rate of a ViT block is this to the power of its distance from the last;
            the patch embedding is one step further. 1 = the same rate everywhere.
    """

    SOURCE: ClassVar[str] = "FT; SAM3's own fine-tuning defaults (layer decay 0.9)"
    RATES: ClassVar[tuple[float, float, float]] = SMALL
    layer_decay: float = Field(default=0.9, gt=0, le=1)

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin in which everything is trained."""
        names = behind(sam, of_components(sam, SEMANTIC), self.last)
        return opened(sam, names + of_presence_path(sam), self)

    def rate_scale(self, name: str, blocks: int) -> float:
        """Factor of the learning rate of a parameter path, for a ViT of this many blocks."""
        parts = name.split("backbone.", 1)
        if len(parts) == 1:
            return 1.0
        inside = parts[1].split(".")
        block = int(inside[1]) if inside[0] == "layers" else -1
        return float(self.layer_decay ** (blocks - 1 - block))


@register("bitfit")
@settings
class BitFit(Heads, LastBlocks):
    """Biases and norms of the semantic path, and the heads."""

    SOURCE: ClassVar[str] = "BITFIT; a cheap control (reconstruction)"
    RATES: ClassVar[tuple[float, float, float]] = LARGE

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin whose biases, norms and heads are trained."""
        names = behind(sam, biases_and_norms(sam), self.last) + of_heads(sam, self.heads)
        return opened(sam, list(dict.fromkeys(names)), self)
