"""Which passes of a step move the running averages of batch norm.

Every pass is normalised by its own crops. The running averages, by which the network predicts
later, are to be those of the pass that learns from masks. Mixed with the statistics of unlabeled
and disturbed crops they are numbers with which the network was never trained: on hippocampus
volumes a Mean Teacher of weight 0 lost 0.05 Dice by that (docs/hosts.md).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

BatchNorm = nn.modules.batchnorm._BatchNorm


class FirstPass:
    """In each step the first pass through a batch norm layer moves its averages, no other does.

    Args:
        nets: networks whose layers are watched from now on. Labeled crops pass them first; where
            a host mixes them with unlabeled ones alone (bcp), the mixture does.
    """

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        norms = [m for net in nets for m in net.modules() if isinstance(m, BatchNorm)]
        self._momentum = [(norm, norm.momentum) for norm in norms]
        self._open: list[nn.Module] | None = None
        for norm in norms:
            norm.register_forward_hook(self._spend)

    def begin(self) -> None:
        """A new step."""
        for norm, momentum in self._momentum:
            norm.momentum = momentum

    @contextmanager
    def whole(self) -> Iterator[None]:
        """What passes meanwhile is one pass: a batch in portions."""
        self._open = []
        try:
            yield
        finally:
            used, self._open = self._open, None
            for norm in used:
                self._spend(norm)

    def _spend(self, norm: nn.Module, *_: Any) -> None:
        if self._open is None:
            norm.momentum = 0.0  # type: ignore[assignment]  # a float of this layer
        else:
            self._open.append(norm)
