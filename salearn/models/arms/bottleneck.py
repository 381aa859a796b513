"""Bottleneck adapters: small layers beside attention and MLP that start as nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from salearn.models.arms.blocks import LastBlocks, first_block
from salearn.models.arms.registry import ARMS, register
from salearn.models.arms.tensors import of_heads, open_tensors
from salearn.models.arms.whole import LARGE, Heads
from salearn.models.sam3 import Sam
from salearn.settings import Field, keyed, settings

PARALLEL_SCALE = 0.5


class Bottleneck(nn.Module):
    """W2 GELU(W1 x); W2 = 0 at the start."""

    def __init__(self, width: int, hidden: int, like: Tensor) -> None:
        super().__init__()
        where: dict[str, Any] = {"device": like.device, "dtype": like.dtype}
        self.down = nn.Linear(width, hidden, **where)
        self.up = nn.Linear(hidden, width, **where)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, x: Float[Tensor, "*n width"]) -> Float[Tensor, "*n width"]:
        """The correction, without the skip."""
        out: Tensor = self.up(nn.functional.gelu(self.down(x)))
        return out


class AfterAttention(nn.Module):
    """Serial with skip: a + adapter(a), where a is the attention's answer."""

    def __init__(self, wrapped: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.wrapped, self.adapter = wrapped, adapter

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Any, ...]:
        """As the attention: (hidden, weights)."""
        hidden, *rest = self.wrapped(*args, **kwargs)
        return (hidden + self.adapter(hidden), *rest)


class BesideMlp(nn.Module):
    """Parallel without skip: mlp(x) + 0.5 adapter(x)."""

    def __init__(self, wrapped: nn.Module, adapter: Bottleneck) -> None:
        super().__init__()
        self.wrapped, self.adapter = wrapped, adapter

    def forward(self, x: Float[Tensor, "*n width"]) -> Float[Tensor, "*n width"]:
        """As the MLP."""
        out: Tensor = self.wrapped(x) + PARALLEL_SCALE * self.adapter(x)
        return out


@settings
class _Adapters(Heads):
    """Bottleneck adapters in some layers, and the heads.

    Attributes:
        reduction: hidden width = width of the layer / reduction.
    """

    SOURCE: ClassVar[str] = "finetune-SAM's adapters, W2 = 0 at the start (adaptation notes 3.4)"
    RATES: ClassVar[tuple[float, float, float]] = LARGE
    ENCODER: ClassVar[bool] = True
    DECODER: ClassVar[bool] = True
    reduction: int = Field(default=4, ge=1)

    def adapt(self, sam: Sam, seed: int) -> Sam:
        """A twin with fresh adapters; the heads are trained in full."""
        twin = sam.adapting({"name": ARMS.name_of(self), **keyed(self)})
        open_tensors(twin, of_heads(twin, self.heads))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for layer in self._blocks(twin):
                self._wrap(layer, ("attention",))
            for layer in twin.model.detr_encoder.layers if self.DECODER else ():
                self._wrap(layer, ("self_attn", "cross_attn"))
        return twin

    def _blocks(self, twin: Sam) -> Sequence[Any]:
        """Of the vision trunk, those that get adapters."""
        return list(twin.backbone.layers) if self.ENCODER else ()

    def _wrap(self, layer: nn.Module, attentions: tuple[str, ...]) -> None:
        for name in attentions:
            setattr(layer, name, AfterAttention(*self._with_adapter(getattr(layer, name))))
        layer.mlp = BesideMlp(*self._with_adapter(layer.mlp))  # type: ignore[arg-type]

    def _with_adapter(self, module: nn.Module) -> tuple[nn.Module, Bottleneck]:
        first = next(m for m in module.modules() if isinstance(m, nn.Linear))
        width = first.in_features
        return module, Bottleneck(width, max(1, width // self.reduction), first.weight)


@settings
class _InTrunk(_Adapters, LastBlocks):
    """Adapters in the vision trunk, or in its last blocks."""

    def _blocks(self, twin: Sam) -> Sequence[Any]:
        return list(twin.backbone.layers)[first_block(twin, self.last) :]


@register("adapter")
@settings
class Adapter(_InTrunk):
    """Bottleneck adapters in vision transformer and fusion encoder (AD-ED), and the heads."""


@register("adapter_encoder")
@settings
class AdapterEncoder(_InTrunk):
    """Bottleneck adapters in the vision transformer only (AD-E), and the heads."""

    DECODER: ClassVar[bool] = False


@register("adapter_decoder")
@settings
class AdapterDecoder(_Adapters):
    """Bottleneck adapters in the fusion encoder only (AD-D), and the heads."""

    ENCODER: ClassVar[bool] = False
