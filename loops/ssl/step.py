"""What a host sees in one training step, and what it may ask for before the first one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.func import functional_call

from salearn.models.vnet import Trace, VNet, VNetSettings

Size = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The task as a host may know it when it builds networks of its own.

    Attributes:
        num_classes: background included.
        net: settings of the student's V-Net.
        patch: size of the crops, voxels.
    """

    channels: int
    num_classes: int
    net: VNetSettings
    patch: Size


@dataclass(frozen=True, kw_only=True)
class Part:
    """A network that a host trains beside the student.

    Attributes:
        net: its weights are drawn when it is built; the trainer seeds that.
        rate: its learning rate as a multiple of the student's; the schedule is the same.
        saved: written beside the student when training ends, as `<name>.safetensors`.
    """

    net: nn.Module
    rate: float = 1.0
    saved: bool = False


def plainly(run: Callable[..., Any], *inputs: Any) -> Any:
    """The answer of a network for the whole batch at once."""
    return run(*inputs)


class Once:
    """A V-Net that answers the same tensor from memory, so that terms share one pass.

    Args:
        call: how a batch passes a network; in portions where the card is small.
    """

    def __init__(self, net: VNet, call: Callable[..., Any] = plainly) -> None:
        self.net = net
        self._call = call
        self._seen: list[tuple[Tensor, Trace]] = []

    def trace(self, image: Float[Tensor, "b channel x y z"]) -> Trace:
        """A pass with the features of every level."""
        for known, answer in self._seen:
            if known is image:
                return answer
        trace: Trace = self._call(self.net.trace, image)
        self._seen.append((image, trace))
        return trace

    def __call__(self, image: Float[Tensor, "b channel x y z"]) -> Tensor:
        """Logits."""
        return self.trace(image).logits

    def decode(self, encoded: Sequence[Tensor]) -> Tensor:
        """Logits from encoder features, e.g. disturbed ones of a `trace`."""
        trace: Trace = self._call(self.net.decode, encoded)
        return trace.logits


@dataclass(frozen=True, kw_only=True)
class Step:
    """All that a host may use in one training step.

    Attributes:
        student: the network that is trained; call it for logits, or `trace` for features too.
        teacher: its EMA twin, no gradient, batch statistics as the student's; call it for logits.
        parts: the networks that the host asked for, by name.
        image, mask: labeled crops; mask value 255 is ignored.
        weak, strong: two views of the same unlabeled crops (None: there are none).
        restyle: one more strong view of weak crops, drawn from `generator`.
        progress: share of the training done, 0..1.
        generator: the only source of randomness.
        log: numbers for the training log that are no loss terms (shares, means); fill it.
        memo: what `terms` leaves for `plugged` in the same step.
        call: how a batch passes a network; in portions where the card is small.
    """

    student: Once
    teacher: Callable[[Tensor], Tensor]
    image: Float[Tensor, "b channel x y z"]
    mask: Int[Tensor, "b x y z"]
    weak: Float[Tensor, "u channel x y z"] | None
    strong: Float[Tensor, "u channel x y z"] | None
    progress: float
    generator: Generator
    parts: Mapping[str, nn.Module] = field(default_factory=dict)
    restyle: Callable[[Tensor], Tensor] = lambda image: image
    log: dict[str, float] = field(default_factory=dict)
    memo: dict[str, Any] = field(default_factory=dict)
    call: Callable[..., Any] = plainly

    def views(self) -> tuple[Tensor, Tensor] | None:
        """Weak and strong view of the unlabeled crops, or None."""
        return None if self.weak is None or self.strong is None else (self.weak, self.strong)

    def part(self, name: str, *inputs: Any) -> Tensor:
        """The answer of an extra network."""
        answer: Tensor = self.call(self.parts[name], *inputs)
        return answer

    def fixed(self, name: str, *inputs: Any) -> Tensor:
        """The same, but no gradient reaches its weights: it flows to the inputs only."""
        net = self.parts[name]
        weights = {key: value.detach() for key, value in net.named_parameters()}
        answer: Tensor = self.call(lambda *given: functional_call(net, weights, given), *inputs)
        return answer
