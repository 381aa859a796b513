"""Which passes of a step move the running averages of batch norm.

Every pass is normalised by its own crops. The running averages, by which the network predicts
later, are to be those of the pass that learns from masks. Mixed with the statistics of unlabeled
and disturbed crops they are numbers with which the network was never trained: on hippocampus
volumes a Mean Teacher of weight 0 lost 0.05 Dice by that (docs/hosts.md).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

BatchNorm = nn.modules.batchnorm._BatchNorm


class FirstPass:
    """In each step the first pass through a batch norm layer moves its averages, no other does.

    Args:
        nets: networks whose layers are watched from now on. Labeled crops pass them first; where
            a host mixes them with unlabeled ones (bcp, magicnet), the mixture does.
    """

    def __init__(self, nets: Iterable[nn.Module]) -> None:
        norms = [m for net in nets for m in net.modules() if isinstance(m, BatchNorm)]
        self._momentum = [(norm, norm.momentum) for norm in norms]
        for norm in norms:
            norm.register_forward_hook(_spent)

    def begin(self) -> None:
        """A new step."""
        for norm, momentum in self._momentum:
            norm.momentum = momentum


def _spent(norm: nn.Module, inputs: Any, answer: Any) -> None:
    norm.momentum = 0.0  # type: ignore[assignment]  # a float of this layer
