"""A batch that does not fit the card passes the networks in smaller portions; gradients add up.

Each portion is a checkpoint: its activations are dropped and made again when its gradient is
wanted, so at any time the card holds those of one portion. Losses see the joined outputs of the
whole batch: every loss is what it was, also Dice over the batch and hosts that mix crops with one
another, and gradients are equal up to rounding. Only layers that look across the batch differ:
batch norm takes the statistics of a portion.

Source: gradient checkpointing (Chen et al. 2016), over portions of the batch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from loops.learning.batch_norm import BatchNorm
from salearn.errors import TrainingError
from salearn.models.checkpoint import rng_state, set_rng_state

MESSAGES = ("out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
T = TypeVar("T")
log = logging.getLogger(__name__)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the memory of a card is used up."""
    named = type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and any(m in str(error) for m in MESSAGES))


@dataclass(kw_only=True)
class Portions:
    """How many examples pass a network at once, halved when the card is full.

    Attributes:
        nets: everything that is called through `call`; their buffers are put back after a failure.
        generators: what a step draws from besides torch's own generators; rewound after a failure.
        remedy: what to do once not even one example fits; it closes the message.
        whole: why the batch must stay whole, or "".
        one_pass: holds what looks at passes while portions go through.
        part: examples at once; None = the batch as it is.
        told: for the record: {"iteration", "part", "of", "batch_norm"} of the last halving.
    """

    nets: Sequence[nn.Module]
    generators: dict[str, torch.Generator]
    remedy: str
    whole: str = ""
    one_pass: Callable[[], AbstractContextManager[None]] = nullcontext
    part: int | None = None
    told: dict[str, Any] | None = None
    _largest: int = 1

    def call(self, run: Callable[..., Any], *inputs: Any) -> Any:
        """What `run` answers for the whole batch; equal first dimensions of tensors are the batch.

        Args:
            run: a network; answers tensors, or tuples, lists or dataclasses of them.
        """
        size = len(next(_tensors(inputs)))
        self._largest = max(self._largest, size)
        if self.part is None or size <= self.part:
            return run(*inputs)
        starts = range(0, size, self.part)
        pieces = [_sliced(inputs, slice(start, start + self.part)) for start in starts]
        with self.one_pass():
            if not torch.is_grad_enabled():
                return _joined([run(*piece) for piece in pieces])
            return _joined(
                [
                    checkpoint(run, *piece, use_reentrant=False, context_fn=self._contexts)
                    for piece in pieces
                ]
            )

    def step(self, iteration: int, work: Callable[[], T]) -> T:
        """Do the work of one step; begun anew with half of the portion while the card is full.

        Args:
            work: forward and backward, from zeroed gradients; it may be called again.

        Raises:
            TrainingError: not even one example fits, or the batch must stay whole.
        """
        while True:
            before = self._kept()
            try:
                return work()
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                cause = error.with_traceback(None)  # its frames hold the memory that is wanted
            self._halve(iteration, cause)
            self._put_back(before)

    def state(self) -> dict[str, Any]:
        """What a training that goes on must know, so that it need not fail again."""
        return {"part": self.part, "told": self.told}

    def take(self, state: Mapping[str, Any]) -> None:
        """Go on from `state()`; nothing is known of trainings begun before there was one."""
        self.part, self.told = state.get("part"), state.get("told")

    def _halve(self, iteration: int, error: Exception) -> None:
        size = self.part or self._largest
        if self.whole or size == 1:
            why = self.whole or "not even one example at a time fits"
            raise TrainingError(
                f"iteration {iteration}: the card is out of memory and {why}: {self.remedy}"
            ) from error
        self.part = (size + 1) // 2
        batch_norm = any(isinstance(m, BatchNorm) for net in self.nets for m in net.modules())
        self.told = {
            "iteration": iteration,
            "part": self.part,
            "of": max(self._largest, size),
            "batch_norm": "statistics of portions" if batch_norm else "none",
        }
        log.warning(
            "iteration %d: the card is out of memory with %d examples at once: going on with %d, "
            "gradients added up%s", iteration, size, self.part,
            "; batch norm sees the smaller portions" if batch_norm else "",
        )  # fmt: skip

    def _kept(self) -> tuple[list[Tensor], dict[str, Any]]:
        """What a forward pass changes: running statistics and the state of generators."""
        return [buffer.clone() for buffer in self._buffers()], rng_state(self.generators)

    def _put_back(self, kept: tuple[list[Tensor], dict[str, Any]]) -> None:
        for net in self.nets:
            net.zero_grad(set_to_none=True)
        for buffer, before in zip(self._buffers(), kept[0], strict=True):
            buffer.copy_(before)
        set_rng_state(self.generators, kept[1])
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _buffers(self) -> Iterator[Tensor]:
        for net in self.nets:
            yield from net.buffers()

    def _contexts(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _still(self.nets)


@contextmanager
def _still(nets: Sequence[nn.Module]) -> Iterator[None]:
    """While activations are made again, batch norm keeps no statistics a second time."""
    norms = [m for net in nets for m in net.modules() if isinstance(m, BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, (_, count) in zip(norms, before, strict=True):
        norm.momentum = 0.0
        norm.num_batches_tracked = None if count is None else count.clone()
    try:
        yield
    finally:
        for norm, (momentum, count) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, count


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for item in value:
            yield from _tensors(item)


def _sliced(value: Any, part: slice) -> Any:
    if isinstance(value, Tensor):
        return value[part]
    if isinstance(value, tuple | list):
        return type(value)(_sliced(item, part) for item in value)
    return value


def _joined(answers: Sequence[Any]) -> Any:
    """Tensors of all portions one behind the other, in the structure of a single answer."""
    first = answers[0]
    if isinstance(first, Tensor):
        return torch.cat(list(answers))
    if isinstance(first, tuple | list):
        return type(first)(_joined(items) for items in zip(*answers, strict=True))
    if is_dataclass(first) and not isinstance(first, type):
        names = [field.name for field in fields(first)]
        parts = {name: _joined([getattr(a, name) for a in answers]) for name in names}
        return type(first)(**parts)
    return first
